"""The language model, and the two functions that are graded: `log_probs` and `next_log_probs`."""

import functools
import json

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

CONFIG, WEIGHTS = "weights/config.json", "weights/model.safetensors"


class Block(nn.Module):
    """Causal self-attention and a feed-forward network, each added to what comes in."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_feed = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        parts = self.qkv(self.before_attention(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*parts, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(F.gelu(self.up(self.before_feed(x))))


class GPT(nn.Module):
    """A decoder in the style of GPT-2: learned positions, and one matrix for the first and the last layer."""

    def __init__(self, vocabulary: int, length: int, layers: int, heads: int, width: int):
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.last = nn.LayerNorm(width)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                deep = name.endswith(("out.weight", "down.weight"))  # added up over the layers
                nn.init.normal_(weight, std=0.02 / (2 * layers) ** 0.5 if deep else 0.02)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """The logits of each position's next token: (batch, length) to (batch, length, vocabulary)."""
        x = self.token(tokens) + self.position.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.last(x) @ self.token.weight.T


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
