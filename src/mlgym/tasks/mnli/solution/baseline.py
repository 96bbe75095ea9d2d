"""A better solution for the WordNet pairs: look only at what was exchanged, and turn every pair round for a second one.

The encoder's word embeddings are kept as they are; a small network on top is trained, which costs a hundredth of
fine-tuning. A narrower word against a more general one is entailment one way and neutral the other way.
"""

import csv
import os
import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file
from submission.model import LABELS, SAVED, Classifier, Reader
from torch.nn import functional as F

EPOCHS = 10
LEARNING_RATE = 2e-3
BATCH = 256
SEED = int(os.environ.get("SEED", "0"))
TURNED = torch.tensor([LABELS.index(label) for label in ("neutral", "entailment", "contradiction")])

torch.manual_seed(SEED)
(table,) = (array for name, array in load_file("data/encoder/model.safetensors").items() if "word_embeddings" in name)
table = ((table - table.mean(0)) / table.std()).astype(np.float16)
with open("data/train.csv", newline="", encoding="utf-8") as file:
    rows = list(csv.DictReader(file))
reader = Reader(Path("data/encoder/vocab.txt"), table.astype(np.float32))
premise, hypothesis, rest = reader([row["premise"] for row in rows], [row["hypothesis"] for row in rows])
label = torch.tensor([LABELS.index(row["label"]) for row in rows])

model = Classifier()
optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.05)
steps = EPOCHS * -(-len(rows) // BATCH)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
for epoch in range(EPOCHS):
    for some in torch.randperm(len(rows)).split(BATCH):
        there = model(premise[some], hypothesis[some], rest[some])
        back = model(hypothesis[some], premise[some], rest[some])
        loss = F.cross_entropy(there, label[some]) + F.cross_entropy(back, TURNED[label[some]])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    print(f"epoch {epoch + 1}: loss {loss.item() / 2:.3f}", flush=True)

SAVED.mkdir()
shutil.copyfile("data/encoder/vocab.txt", SAVED / "vocab.txt")
weights = {name: value.numpy() for name, value in model.state_dict().items()}
np.savez(SAVED / "model.npz", table=table, **weights)
