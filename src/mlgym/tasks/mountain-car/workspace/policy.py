"""The policies in checkpoints/ as the grader plays them: change what you like, `act` and its arguments must stay."""

from functools import cache
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
GREEDY = False  # whether the mean of the policy is played instead of a force drawn at random around it


@cache
def load(number):
    """Weights and biases of one policy, layer by layer, and its standard deviation."""
    with np.load(HERE / "checkpoints" / f"{number}.npz") as file:
        *arrays, spread = [file[name] for name in file.files]
    return list(zip(arrays[::2], arrays[1::2], strict=True)), np.exp(spread)


def act(checkpoint, observations, first):
    """Return the next force in each of n environments: float32 [n, 1], from -1 to 1.

    checkpoint: the number of the policy. observations: float32 [n, 2] (position, velocity). first: bool [n], whether
    an episode begins there; a policy with a memory forgets there.
    """
    network, deviation = load(int(checkpoint))
    x = observations
    for weight, bias in network[:-1]:
        x = np.maximum(x @ weight + bias, 0)
    force = x @ network[-1][0] + network[-1][1]
    if not GREEDY:
        force += deviation * np.random.normal(size=force.shape).astype(np.float32)
    return force.clip(-1, 1)
