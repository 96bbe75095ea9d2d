"""A classifier of what was exchanged: the encoder's word embeddings of the two differing parts, and of the rest."""

from pathlib import Path

import numpy as np
import torch
from tokenizers import BertWordPieceTokenizer
from torch import nn

SAVED = Path(__file__).parent / "saved"
LABELS = ["entailment", "neutral", "contradiction"]
WIDTH, HIDDEN = 384, 512


class Classifier(nn.Module):
    """Premise's part, hypothesis's part, their products and differences, and the rest of the text, to LABELS."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Dropout(0.3), nn.Linear(5 * WIDTH, HIDDEN), nn.GELU()),
            *(nn.Dropout(0.5), nn.Linear(HIDDEN, HIDDEN), nn.GELU()),
            *(nn.Dropout(0.5), nn.Linear(HIDDEN, len(LABELS))),
        )

    def forward(self, premise: torch.Tensor, hypothesis: torch.Tensor, rest: torch.Tensor) -> torch.Tensor:
        parts = [premise, hypothesis, premise * hypothesis, (premise - hypothesis).abs(), rest]
        return self.layers(torch.cat(parts, 1))


class Reader:
    """Turns pairs of texts into three vectors each, with a table of word embeddings."""

    def __init__(self, vocabulary: Path, table: np.ndarray):
        self.tokenizer = BertWordPieceTokenizer(str(vocabulary))
        self.table = table

    def __call__(self, premises: list[str], hypotheses: list[str]) -> list[torch.Tensor]:
        tokens = [
            [found.ids for found in self.tokenizer.encode_batch(texts, add_special_tokens=False)]
            for texts in (premises, hypotheses)
        ]
        parts = [parted(*pair) for pair in zip(*tokens, strict=True)]
        return [torch.from_numpy(np.stack([self.mean(some) for some in column])) for column in zip(*parts, strict=True)]

    def mean(self, tokens: list[int]) -> np.ndarray:
        return self.table[tokens].mean(0) if tokens else np.zeros(WIDTH, np.float32)


def parted(premise: list[int], hypothesis: list[int]) -> tuple[list[int], list[int], list[int]]:
    """What only the premise has, what only the hypothesis has, and the tokens around it that both have."""
    most = min(len(premise), len(hypothesis))
    start = next((n for n in range(most) if premise[n] != hypothesis[n]), most)
    end = next((n for n in range(most - start) if premise[-1 - n] != hypothesis[-1 - n]), most - start)
    left, right = len(premise) - end, len(hypothesis) - end
    return premise[start:left], hypothesis[start:right], premise[:start] + premise[left:]


def load():
    """The reader and the classifier that were saved."""
    saved = np.load(SAVED / "model.npz")
    model = Classifier()
    model.load_state_dict({name: torch.from_numpy(saved[name]) for name in saved.files if name != "table"})
    return Reader(SAVED / "vocab.txt", saved["table"].astype(np.float32)), model.eval()


@torch.inference_mode()
def predict(premises: list[str], hypotheses: list[str]) -> list[str]:
    """One of LABELS for each pair."""
    return [LABELS[n] for n in model(*reader(premises, hypotheses)).argmax(1).tolist()]


if SAVED.exists():
    reader, model = load()
