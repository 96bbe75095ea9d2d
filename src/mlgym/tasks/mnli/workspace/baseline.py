"""Fine-tune the encoder on pairs of texts: reads data/, saves the classifier into submission/saved/.

`--steps N` ends the epoch after N batches.
"""

import argparse
import csv
import os

import numpy as np
import torch
from torch.nn import functional as F
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging

EPOCHS = 1
LEARNING_RATE = 1e-7
BATCH = 32
MAX_LENGTH = 128  # tokens of a pair
HELD_OUT = 256  # training pairs to watch the accuracy on
SEED = int(os.environ.get("SEED", "0"))

LABELS = ["entailment", "neutral", "contradiction"]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def read(path: str) -> list[dict]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def logits(rows: list[dict]) -> torch.Tensor:
    """What the model says of each pair: (rows, labels)."""
    pairs = [row["premise"] for row in rows], [row["hypothesis"] for row in rows]
    inputs = tokenizer(*pairs, truncation=True, max_length=MAX_LENGTH, padding=True, return_tensors="pt")
    return model(**inputs.to(DEVICE)).logits


def targets(rows: list[dict]) -> torch.Tensor:
    return torch.tensor([LABELS.index(row["label"]) for row in rows], device=DEVICE)


parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int)
most = parser.parse_args().steps

logging.set_verbosity_error()  # that the classifier's own layer is new, we know
logging.disable_progress_bar()
torch.manual_seed(SEED)
rng = np.random.default_rng(SEED)
tokenizer = AutoTokenizer.from_pretrained("data/encoder")
model = AutoModelForSequenceClassification.from_pretrained("data/encoder", num_labels=len(LABELS)).to(DEVICE)

rows = read("data/train.csv")
held, train = rows[:HELD_OUT], rows[HELD_OUT:]
optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
for epoch in range(EPOCHS):
    model.train()
    order = rng.permutation(len(train))
    batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)][:most]
    for step, batch in enumerate(batches, 1):
        some = [train[n] for n in batch]
        loss = F.cross_entropy(logits(some), targets(some))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 0 or step == len(batches):
            print(f"epoch {epoch + 1}, batch {step} of {len(batches)}: loss {loss.item():.3f}", flush=True)
    model.eval()
    with torch.inference_mode():
        parts = [held[start : start + BATCH] for start in range(0, len(held), BATCH)]
        right = sum((logits(some).argmax(1) == targets(some)).sum().item() for some in parts)
    print(f"epoch {epoch + 1}: accuracy on held-out training pairs {right / len(held):.3f}", flush=True)

model.save_pretrained("submission/saved")
tokenizer.save_pretrained("submission/saved")
print("saved submission/saved; `submission/model.py` predicts with it")
