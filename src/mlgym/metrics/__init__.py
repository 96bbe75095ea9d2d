"""Arithmetic on scores; no IO, nothing of the machinery that made them."""

from mlgym.metrics.progress import clip, potential, progress

__all__ = ["clip", "potential", "progress"]
