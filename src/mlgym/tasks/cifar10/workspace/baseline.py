"""A network of two convolutions, trained by plain gradient descent: reads data/*.npy, writes submission.csv."""

import os

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

EPOCHS = 10
BATCH_SIZE = 64
LEARNING_RATE = 0.01
MOMENTUM = 0.0
CHANNELS = 16  # of the first convolution; the second has twice as many
HIDDEN = 128  # units between the convolutions and the classes
HELD_OUT = 0.05  # share of the training pictures that only measures progress

SEED = int(os.environ.get("SEED", "0"))
torch.manual_seed(SEED)


def pictures(path: str) -> torch.Tensor:
    """The pictures as floats in [-1, 1], in the shape (number, colours, height, width)."""
    array = np.load(path)
    array = array[:, None] if array.ndim == 3 else array.transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(array)).float() / 127.5 - 1


class Network(nn.Module):
    def __init__(self, colours: int, size: int, classes: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(colours, CHANNELS, kernel_size=3, padding=1)
        self.second = nn.Conv2d(CHANNELS, 2 * CHANNELS, kernel_size=3, padding=1)
        self.hidden = nn.Linear(2 * CHANNELS * (size // 4) ** 2, HIDDEN)
        self.out = nn.Linear(HIDDEN, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.first(x)), 2)
        x = F.max_pool2d(F.relu(self.second(x)), 2)
        return self.out(F.relu(self.hidden(x.flatten(1))))


def predict(network: Network, x: torch.Tensor) -> torch.Tensor:
    network.eval()
    with torch.no_grad():
        return torch.cat([network(part).argmax(1) for part in x.split(500)])


x = pictures("data/train_images.npy")
y = torch.from_numpy(np.load("data/train_labels.npy")).long()
held_out = int(HELD_OUT * len(y))
order = torch.randperm(len(y))
x_held, y_held = x[order[:held_out]], y[order[:held_out]]
x, y = x[order[held_out:]], y[order[held_out:]]

device = "cuda" if torch.cuda.is_available() else "cpu"
network = Network(x.shape[1], x.shape[2], int(y.max()) + 1).to(device)
optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
for epoch in range(EPOCHS):
    network.train()
    total = 0.0
    for batch in torch.randperm(len(y)).split(BATCH_SIZE):
        loss = F.cross_entropy(network(x[batch].to(device)), y[batch].to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(batch)
    accuracy = (predict(network, x_held.to(device)).cpu() == y_held).float().mean()
    print(f"epoch {epoch + 1}: loss {total / len(y):.4f}, accuracy on held-out pictures {accuracy:.4f}", flush=True)

labels = predict(network, pictures("data/test_images.npy").to(device)).tolist()
with open("submission.csv", "w") as file:
    file.write("id,label\n")
    file.writelines(f"{number},{label}\n" for number, label in enumerate(labels))
