"""Captions by a frozen image encoder and an LSTM: reads data/, writes captions.csv."""

import csv
import io
import os
import re
import zipfile
from collections import Counter

import numpy as np
import torch
from encoder import load_encoder
from PIL import Image
from torch import nn
from torch.nn import functional as F

EPOCHS = 2
LEARNING_RATE = 1e-3
BATCH = 64
EMBEDDING = 256
HIDDEN = 512
LEAST_SEEN = 3  # words that are rarer in the training captions are unknown
MOST_WORDS = 25  # of a caption
HELD_OUT = 0.05  # of the training images, to watch the loss on
SEED = int(os.environ.get("SEED", "0"))

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
START, END, UNKNOWN = 0, 1, 2


@torch.inference_mode()
def features(path: str, ids: list[int]) -> torch.Tensor:
    """What the frozen encoder sees in each image of a zip file: (images, width)."""
    encoder = load_encoder("data/encoder").to(DEVICE)
    found = []
    with zipfile.ZipFile(path) as archive:
        for start in range(0, len(ids), BATCH):
            files = [archive.read(f"{n}.jpg") for n in ids[start : start + BATCH]]
            images = np.stack([np.array(Image.open(io.BytesIO(data))) for data in files])
            found.append(encoder(torch.from_numpy(images).permute(0, 3, 1, 2).to(DEVICE)).cpu())
            if start // BATCH % 10 == 0:
                print(f"{path}: {start + len(files)} of {len(ids)} images encoded", flush=True)
    return torch.cat(found)


class Decoder(nn.Module):
    """An LSTM that gets the image first and then word after word, and says the next word."""

    def __init__(self, width: int, words: int):
        super().__init__()
        self.image = nn.Linear(width, EMBEDDING)
        self.words = nn.Embedding(words, EMBEDDING)
        self.lstm = nn.LSTM(EMBEDDING, HIDDEN, batch_first=True)
        self.out = nn.Linear(HIDDEN, words)

    def forward(self, image: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """The logits of each next word, for captions (captions, length) that begin with START."""
        inputs = torch.cat([self.image(image).unsqueeze(1), self.words(words)], 1)
        return self.out(self.lstm(inputs)[0][:, 1:])

    @torch.inference_mode()
    def caption(self, image: torch.Tensor) -> torch.Tensor:
        """The likeliest word each time: (images, MOST_WORDS)."""
        state = self.lstm(self.image(image).unsqueeze(1))[1]
        word, said = torch.full((len(image), 1), START, device=image.device), []
        for _ in range(MOST_WORDS):
            hidden, state = self.lstm(self.words(word), state)
            word = self.out(hidden).argmax(2)
            said.append(word)
        return torch.cat(said, 1)


def loss(model: Decoder, image: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
    """The mean cross-entropy of the next words; after END nothing counts."""
    words = words[:, : (words != END).sum(1).max() + 1]
    targets = words[:, 1:].masked_fill((words[:, :-1] == END), -1)
    return F.cross_entropy(model(image, words[:, :-1]).flatten(0, 1), targets.flatten(), ignore_index=-1)


torch.manual_seed(SEED)
with open("data/train.csv", newline="", encoding="utf-8") as file:
    rows = [(int(row["id"]), re.findall(r"\w+|[^\w\s]", row["caption"].lower())) for row in csv.DictReader(file)]
with open("data/test.csv", newline="", encoding="utf-8") as file:
    pool = [int(row["id"]) for row in csv.DictReader(file)]

seen = Counter(word for _, words in rows for word in words)
vocabulary = ["<start>", "<end>", "unknown", *(word for word, n in seen.most_common() if n >= LEAST_SEEN)]
number = {word: n for n, word in enumerate(vocabulary)}
ids = sorted({n for n, _ in rows})
place = {n: k for k, n in enumerate(ids)}
which = torch.tensor([place[n] for n, _ in rows])
captions = torch.full((len(rows), MOST_WORDS + 2), END)
for k, (_, words) in enumerate(rows):
    line = [START, *(number.get(word, UNKNOWN) for word in words[:MOST_WORDS])]
    captions[k, : len(line)] = torch.tensor(line)

seen_images = features("data/train.zip", ids)
held = which < HELD_OUT * len(ids)
model = Decoder(seen_images.shape[1], len(vocabulary)).to(DEVICE)
optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
train, watch = torch.where(~held)[0], torch.where(held)[0][:2000]
for epoch in range(EPOCHS):
    model.train()
    order = train[torch.randperm(len(train))].split(BATCH)
    for step, batch in enumerate(order):
        error = loss(model, seen_images[which[batch]].to(DEVICE), captions[batch].to(DEVICE))
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        if step % 100 == 0:
            print(f"epoch {epoch + 1}, batch {step + 1} of {len(order)}: loss {error.item():.3f}", flush=True)
    model.eval()
    with torch.inference_mode():
        error = loss(model, seen_images[which[watch]].to(DEVICE), captions[watch].to(DEVICE))
    print(f"epoch {epoch + 1}: loss on held-out training images {error.item():.3f}", flush=True)

pool_images = features("data/test.zip", pool)
with open("captions.csv", "w", newline="", encoding="utf-8") as file:
    out = csv.writer(file)
    out.writerow(["id", "caption"])
    for start in range(0, len(pool), BATCH):
        said = model.caption(pool_images[start : start + BATCH].to(DEVICE)).tolist()
        for n, words in zip(pool[start : start + BATCH], said, strict=True):
            words = words[: words.index(END)] if END in words else words
            out.writerow([n, " ".join(vocabulary[word] for word in words) or "unknown"])
