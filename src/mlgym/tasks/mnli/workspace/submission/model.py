"""The saved classifier: `predict` says how pairs of texts are related, with the weights of the folder saved/."""

from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

SAVED = Path(__file__).parent / "saved"
LABELS = ["entailment", "neutral", "contradiction"]
BATCH = 64

tokenizer = AutoTokenizer.from_pretrained(SAVED)
model = AutoModelForSequenceClassification.from_pretrained(SAVED).eval()


@torch.inference_mode()
def predict(premises: list[str], hypotheses: list[str]) -> list[str]:
    """One of LABELS for each pair."""
    # texts of like length together, so that little is filled up
    order = sorted(range(len(premises)), key=lambda n: len(premises[n]) + len(hypotheses[n]))
    labels = [""] * len(premises)
    for start in range(0, len(order), BATCH):
        some = order[start : start + BATCH]
        pairs = [premises[n] for n in some], [hypotheses[n] for n in some]
        inputs = tokenizer(*pairs, truncation=True, max_length=128, padding=True, return_tensors="pt")
        for n, best in zip(some, model(**inputs).logits.argmax(1).tolist(), strict=True):
            labels[n] = LABELS[best]
    return labels
