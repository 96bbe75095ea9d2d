"""A better model: what the last two and three tokens were is looked up, positions are rotations, queries are normed."""

import functools
import json

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

CONFIG, WEIGHTS = "weights/config.json", "weights/model.safetensors"
ROWS = 32768  # of a table of hashed tokens in a row


def norm(x: torch.Tensor) -> torch.Tensor:
    """Scaled to a mean square of 1."""
    return F.rms_norm(x, (x.shape[-1],))


class Block(nn.Module):
    """Causal self-attention and a feed-forward network, each added to what comes in."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.down.weight)

    def forward(self, x: torch.Tensor, turn: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        batch, length, width = x.shape
        q, k, v = self.qkv(norm(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(rotated(norm(q), turn), rotated(norm(k), turn), v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(F.relu(self.up(norm(x))).square())


def rotated(x: torch.Tensor, turn: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Pairs of numbers turned by an angle that grows with the position (Su et al. 2021, arXiv 2104.09864)."""
    (cos, sin), (a, b) = turn, x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)


class GPT(nn.Module):
    """A decoder whose input is the sum of what is known of a token and of the two and three tokens up to it."""

    def __init__(self, vocabulary: int, length: int, layers: int, heads: int, width: int):
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.pair, self.triple = nn.Embedding(ROWS, width), nn.Embedding(ROWS, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.head = nn.Linear(width, vocabulary, bias=False)
        nn.init.zeros_(self.head.weight)
        for table in (self.token, self.pair, self.triple):
            nn.init.normal_(table.weight, std=0.5)
        speeds = 1000.0 ** -torch.linspace(0, 1, width // heads // 2)
        angles = torch.arange(length)[:, None] * speeds
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """The logits of each position's next token: (batch, length) to (batch, length, vocabulary)."""
        length = tokens.shape[1]
        before, earlier = (F.pad(tokens, (n, 0))[:, :length] for n in (1, 2))
        pair = tokens * 31337 + before * 7919
        x = self.token(tokens) + self.pair(pair % ROWS) + self.triple((pair + earlier * 104729) % ROWS)
        turn = self.cos[:length], self.sin[:length]
        for block in self.blocks:
            x = block(x, turn)
        return 15 * torch.tanh(self.head(norm(x)) / 15)


@functools.cache
def trained() -> tuple[GPT, torch.device]:
    """The trained model, ready to answer, and where it lies."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with open(CONFIG) as file:
        model = GPT(**json.load(file))
    model.load_state_dict(load_file(WEIGHTS))  # parameters stay float32, however they were saved
    return model.to(device).eval(), device


@torch.inference_mode()
def log_probs(tokens: np.ndarray) -> np.ndarray:
    """float32 (batch, length - 1): the log-probability of each token but the first, given those before it."""
    model, device = trained()
    rows = torch.tensor(tokens, device=device)
    losses = F.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten(), reduction="none")
    return -losses.view(len(rows), -1).cpu().numpy()


@torch.inference_mode()
def next_log_probs(prefix: np.ndarray) -> np.ndarray:
    """float32 (vocabulary): the log-probability of each token to be the next one after these."""
    model, device = trained()
    return F.log_softmax(model(torch.tensor(prefix, device=device)[None])[0, -1], dim=-1).cpu().numpy()
