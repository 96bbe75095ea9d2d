"""A better solution: the starter's two parts, trained longer, with dropout and a learning rate that falls."""

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

EPOCHS = 18
LEARNING_RATE = 1e-3
BATCH = 64
EMBEDDING = 256
HIDDEN = 512
DROPOUT = 0.4
LEAST_SEEN = 3  # words that are rarer in the training captions are unknown
MOST_WORDS = 25
SEED = int(os.environ.get("SEED", "0"))
START, END, UNKNOWN = 0, 1, 2


@torch.inference_mode()
def features(path: str, ids: list[int]) -> torch.Tensor:
    """What the frozen encoder sees in each image of a zip file: (images, width)."""
    found = []
    with zipfile.ZipFile(path) as archive:
        for start in range(0, len(ids), BATCH):
            files = [archive.read(f"{n}.jpg") for n in ids[start : start + BATCH]]
            images = np.stack([np.array(Image.open(io.BytesIO(data))) for data in files])
            found.append(encoder(torch.from_numpy(images).permute(0, 3, 1, 2)))
    return torch.cat(found)


class Decoder(nn.Module):
    """An LSTM that gets the image first and then word after word, and says the next word."""

    def __init__(self, width: int, words: int):
        super().__init__()
        self.image = nn.Sequential(nn.LayerNorm(width), nn.Dropout(DROPOUT), nn.Linear(width, EMBEDDING))
        self.words = nn.Embedding(words, EMBEDDING)
        self.lstm = nn.LSTM(EMBEDDING, HIDDEN, batch_first=True)
        self.out = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(HIDDEN, words))

    def forward(self, image: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        inputs = torch.cat([self.image(image).unsqueeze(1), self.words(words)], 1)
        return self.out(self.lstm(inputs)[0][:, 1:])

    @torch.inference_mode()
    def caption(self, image: torch.Tensor) -> torch.Tensor:
        """The likeliest word each time: (images, MOST_WORDS)."""
        state = self.lstm(self.image(image).unsqueeze(1))[1]
        word, said = torch.full((len(image), 1), START), []
        for _ in range(MOST_WORDS):
            hidden, state = self.lstm(self.words(word), state)
            word = self.out(hidden).argmax(2)
            said.append(word)
        return torch.cat(said, 1)


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

encoder = load_encoder("data/encoder")
train_images = features("data/train.zip", ids)
print("images encoded", flush=True)
model = Decoder(train_images.shape[1], len(vocabulary))
optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
steps = EPOCHS * -(-len(rows) // BATCH)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1)
for epoch in range(EPOCHS):
    for some in torch.randperm(len(rows)).split(BATCH):
        words = captions[some][:, : (captions[some] != END).sum(1).max() + 1]
        targets = words[:, 1:].masked_fill(words[:, :-1] == END, -1).flatten()
        logits = model(train_images[which[some]], words[:, :-1]).flatten(0, 1)
        loss = F.cross_entropy(logits, targets, ignore_index=-1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    print(f"epoch {epoch + 1}: loss {loss.item():.3f}", flush=True)

model.eval()
images = features("data/test.zip", pool)
with open("captions.csv", "w", newline="", encoding="utf-8") as file:
    out = csv.writer(file)
    out.writerow(["id", "caption"])
    for n, words in zip(pool, model.caption(images).tolist(), strict=True):
        words = words[: words.index(END)] if END in words else words
        out.writerow([n, " ".join(vocabulary[word] for word in words) or "unknown"])
