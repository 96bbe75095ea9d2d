"""Language models: the loss of hidden text by the submission's own code, which is held to answers without the targets.

A first player gets whole rows of tokens and gives the log-probability of each target, which it sees. What it gave is a
commitment: only then are positions drawn, from a salt and a digest of all its answers. A second, fresh player is asked
for the whole distribution of the next token after each of these prefixes, one at a time and in the order of the text,
so that all it has ever seen is earlier text. Its distributions must sum to one and agree with the first player's
answers. One that saw the targets at a part f of the positions passes n checks with probability (1 - f)^n.
"""

import hashlib
import json
import secrets
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import InvalidSubmission

TOLERANCE = 1e-3  # nats between the two players' answers, and of the sum of a distribution from 1
MODULE = "model"
SHARD = (20240520, 1)  # the magic number and version of a shard of tokens

Tokens = NDArray[Any]  # whole numbers
Floats = NDArray[np.float32]


def read_shard(path: Path) -> Tokens:
    """The uint16 tokens of a shard: 256 int32 (magic number, version, count, zeros), then the tokens.

    The format of github.com/karpathy/llm.c and KellerJordan/modded-nanogpt. Raises ValueError for another file.
    """
    header = np.fromfile(path, "<i4", 256)
    if len(header) < 256 or tuple(header[:2]) != SHARD:
        raise ValueError(f"{path.name} is no shard of tokens (magic number {SHARD[0]}, version {SHARD[1]})")
    size = path.stat().st_size - header.nbytes
    if size != 2 * header[2] or not size:
        raise ValueError(f"{path.name} has {size} bytes of tokens where its header says {header[2]} tokens of 2 bytes")
    return np.memmap(path, "<u2", "r", offset=header.nbytes)


def write_split(private: Path, split: str, tokens: Tokens, length: int, rows: int) -> None:
    """Keep at most `rows` rows of length + 1 tokens, spread evenly over the text; no token is in two of them."""
    cut = tokens[: len(tokens) // (length + 1) * (length + 1)].reshape(-1, length + 1)
    np.save(private / f"{split}.npy", cut[np.linspace(0, len(cut) - 1, min(rows, len(cut))).astype(int)])


def write_secrets(private: Path, sizes: NDArray[np.uint8]) -> None:
    """Keep the bytes of text that each token of the vocabulary stands for, and make the salt."""
    (private / "sizes.json").write_text(json.dumps(sizes.tolist()))
    (private / "salt").write_text(secrets.token_hex(16))


def grade(submission: Any, private: Path, split: str, seed: int, *, positions: int, at_once: int) -> dict[str, float]:
    """val_loss (nats a token), perplexity and bits_per_byte of the rows of the split.

    The first player gets `at_once` rows in a call; the second answers for `positions` prefixes.
    """
    text = np.load(private / f"{split}.npy", mmap_mode="r")
    sizes = np.array(json.loads((private / "sizes.json").read_text()), np.uint8)
    player = submission.player(MODULE, seed)
    _rehearse(player, len(sizes), text.shape[1])
    starts = range(0, len(text), at_once)
    given = np.concatenate([_whole(player, text[n : n + at_once], quiet=True).ravel() for n in starts])
    drawn = challenge((private / "salt").read_text(), split, seed, given, positions)

    player = submission.player(MODULE, seed)
    differences = np.empty(len(drawn))
    for n, place in enumerate(drawn):  # in the order of the text
        row, end = divmod(int(place), text.shape[1] - 1)
        answer = _next(player, text[row, : end + 1], len(sizes), quiet=True)
        differences[n] = answer[text[row, end + 1]] - given[place]
        if not abs(differences[n]) <= TOLERANCE:
            raise InvalidSubmission(
                "log_probs answers differently from next_log_probs, which sees the tokens before a target only:"
                f" at one of {len(drawn)} random positions they are more than {TOLERANCE:g} apart."
            )
    # The mean difference takes back what a steady lift within the tolerance would gain.
    loss = -float(given.mean(dtype=np.float64) + differences.mean())
    bits = loss * given.size / np.log(2)
    return {
        "val_loss": loss,
        "perplexity": float(np.exp(min(loss, 700.0))),
        "bits_per_byte": float(bits / sizes[text[:, 1:]].sum(dtype=np.int64)),
    }


def challenge(salt: str, split: str, seed: int, given: Floats, positions: int) -> NDArray[np.int64]:
    """Different random positions among all targets, in order; other answers, be it by one bit, draw others."""
    digest = hashlib.sha256(f"{salt} {split} {seed} ".encode() + given.tobytes()).digest()
    rng = np.random.default_rng(int.from_bytes(digest, "big"))
    return np.sort(rng.choice(given.size, min(positions, given.size), replace=False))


def _rehearse(player: Any, vocabulary: int, length: int) -> None:
    """Let both functions answer for random tokens: nothing is hidden yet, so an honest mistake is told in full."""
    tokens = np.random.default_rng(0).integers(0, vocabulary, (2, length))
    given = _whole(player, tokens)
    for end in sorted({1, length // 2, length - 1}):
        answer = _next(player, tokens[0, :end], vocabulary)[tokens[0, end]]
        if not abs(answer - given[0, end - 1]) <= TOLERANCE:
            raise InvalidSubmission(
                f"For random tokens, next_log_probs gives the token after the first {end} a log-probability of"
                f" {answer:.4f} and log_probs {given[0, end - 1]:.4f}: they must agree within {TOLERANCE:g}."
            )


def _whole(player: Any, rows: Tokens, quiet: bool = False) -> Floats:
    """What `log_probs` gives for whole rows: finite log-probabilities (row, target)."""
    expect = [("<f4", (len(rows), rows.shape[1] - 1))]
    given = _array(player.batch("log_probs", [np.asarray(rows, "<i8")], expect, quiet=quiet))
    if not np.isfinite(given).all():
        raise InvalidSubmission("log_probs answers with a number that is not finite.")
    if given.max() > TOLERANCE:
        raise InvalidSubmission("log_probs answers with a number above 0, which is no logarithm of a probability.")
    return given


def _next(player: Any, prefix: Tokens, vocabulary: int, quiet: bool = False) -> NDArray[np.float64]:
    """What `next_log_probs` gives for a prefix, made to sum to exactly one; it must do so within the tolerance."""
    found = player.batch("next_log_probs", [np.asarray(prefix, "<i8")], [("<f4", (vocabulary,))], quiet=quiet)
    answer = _array(found).astype(np.float64)
    with np.errstate(over="ignore"):  # an infinite sum is refused too
        total = np.exp(answer).sum()
    if not abs(total - 1) <= TOLERANCE:
        raise InvalidSubmission(
            "next_log_probs answers with log-probabilities whose probabilities do not sum to one"
            f" (within {TOLERANCE:g})."
        )
    return np.asarray(answer - np.log(total))


def _array(found: Any) -> Floats:
    return np.frombuffer(found[0].data, found[0].descr).reshape(found[0].shape)
