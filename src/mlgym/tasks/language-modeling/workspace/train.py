"""Trains the model of model.py on data/train.npy and saves it to weights/: `python train.py`."""

import json
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
from model import CONFIG, GPT, WEIGHTS
from safetensors.torch import save_file
from torch.nn import functional as F

SEED = int(os.environ.get("SEED", "0"))
SIZES = {  # by the size of the data, which data/about.json names
    "full": {"layers": 12, "heads": 6, "width": 768, "batch": 512, "at_once": 16, "steps": 500},
    "mini": {"layers": 4, "heads": 4, "width": 128, "batch": 8, "at_once": 8, "steps": 200},
    "tiny": {"layers": 2, "heads": 2, "width": 64, "batch": 4, "at_once": 4, "steps": 100},
}
MATRIX_RATE = 0.02  # learning rate of Muon, for the matrices of the blocks
OTHER_RATE = 0.002  # learning rate of Adam, for embeddings and norms
WARM_UP = 0.05  # the part of the steps in which the rates rise
HELD_OUT = 0.02  # the last part of the training text, not trained on

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
torch.manual_seed(SEED)
rng = np.random.default_rng(SEED)
about = json.loads(Path("data/about.json").read_text())
length, size = about["length"], SIZES[about["size"]]
tokens = np.load("data/train.npy", mmap_mode="r")
split = int(len(tokens) * (1 - HELD_OUT))
config = {"vocabulary": about["vocabulary"], "length": length} | {
    key: size[key] for key in ("layers", "heads", "width")
}
model = GPT(**config).to(device)

matrices = [weight for weight in model.blocks.parameters() if weight.ndim == 2]
chosen = {id(weight) for weight in matrices}
others = [weight for weight in model.parameters() if id(weight) not in chosen]
optimizers = [
    torch.optim.Muon(matrices, lr=MATRIX_RATE, momentum=0.95, weight_decay=0.0),
    torch.optim.Adam(others, lr=OTHER_RATE, betas=(0.9, 0.95)),
]
schedules = [
    torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / (WARM_UP * size["steps"]), 0.5 + 0.5 * math.cos(math.pi * step / size["steps"])),
    )
    for optimizer in optimizers
]


def draw(first: int, end: int, count: int) -> torch.Tensor:
    """Random rows of length + 1 tokens out of tokens[first:end]."""
    starts = rng.integers(first, end - length, count)
    return torch.tensor(
        np.stack([tokens[start : start + length + 1] for start in starts]).astype(np.int64), device=device
    )


def loss_of(rows: torch.Tensor) -> torch.Tensor:
    """The mean negative log-probability of the tokens, in nats."""
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        logits = model(rows[:, :-1])
    return F.cross_entropy(logits.float().flatten(0, 1), rows[:, 1:].flatten())


began = time.time()
for step in range(size["steps"]):
    parts = size["batch"] // size["at_once"]
    total = 0.0
    for _ in range(parts):
        loss = loss_of(draw(0, split, size["at_once"])) / parts
        loss.backward()
        total += loss.item()
    for optimizer, schedule in zip(optimizers, schedules, strict=True):
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    if step % (size["steps"] // 10) == 0:
        print(f"step {step}: training loss {total:.3f}, {time.time() - began:.0f} s", flush=True)

with torch.inference_mode():
    held_out = sum(loss_of(draw(split, len(tokens), size["at_once"])).item() for _ in range(10)) / 10
print(f"loss on held-out text: {held_out:.3f}, {time.time() - began:.0f} s")

Path("weights").mkdir(exist_ok=True)
Path(CONFIG).write_text(json.dumps(config))
kept = torch.bfloat16 if device.type == "cuda" else torch.float32
save_file({name: weight.to(kept) for name, weight in model.state_dict().items()}, WEIGHTS)
