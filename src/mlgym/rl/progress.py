"""What a training run keeps in its folder: its recipe, its curve, its checkpoints; and the lock on it."""

import contextlib
import fcntl
import importlib.util
import io
import json
import math
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlgym.disk import append_line, guarded, write_whole
from mlgym.errors import InUse, UsageError
from mlgym.rl.recipe import NOT_KEPT, Recipe
from mlgym.trajectory import Trajectory

Line = dict[str, Any]
RECIPE, CURVE, LAST, BEST, LOCK = "recipe.json", "metrics.jsonl", "last.pt", "best.pt", "lock"


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Have the folder for this process; raises InUse where another trains in it."""
    with guarded(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InUse(f"Another process trains in {folder}; wait for it, stop it, or give another folder.") from error
        yield


def keep_recipe(folder: Path, recipe: Recipe) -> None:
    """Write the recipe down; raises UsageError where something was made by one that differs in what that depends on."""
    path = folder / RECIPE
    given = recipe.model_dump(mode="json")
    if path.exists() and {each.name for each in folder.iterdir()} - {RECIPE, LOCK}:
        before = Recipe.model_validate_json(path.read_bytes()).model_dump(mode="json")
        differs = [key for key in given if given[key] != before[key] and key not in NOT_KEPT]
        if differs:
            raise UsageError(
                f"{folder} was begun with another recipe (its {differs[0]} differs): give another folder with -o, or "
                "the same recipe."
            )
    write_whole(path, json.dumps(given, indent=1).encode())


class Curve:
    """The metrics of a run: a JSON object a line in `metrics.jsonl`, and in `tensorboard/` where that is installed.

    `done` is the number of steps that the checkpoint has: what a run wrote after it before it was killed is dropped.
    """

    def __init__(self, folder: Path, done: int) -> None:
        self.path = folder / CURVE
        kept = [line for line in lines(folder) if line["done"] <= done]
        if self.path.exists():
            write_whole(self.path, b"".join(json.dumps(line).encode() + b"\n" for line in kept))
        self._writer: Any = None
        if importlib.util.find_spec("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=done + 1)

    def add(self, line: Mapping[str, Any]) -> None:
        """Append a line; its numbers go to TensorBoard too, those of tables under the table's name."""
        append_line(self.path, json.dumps(_finite(line)).encode())
        if self._writer is not None:
            for name, value in _flat(line):
                self._writer.add_scalar(name, value, line["done"])
            self._writer.flush()

    def close(self) -> None:
        """Close TensorBoard's file."""
        if self._writer is not None:
            self._writer.close()


def lines(folder: Path) -> list[Line]:
    """The lines of a run's curve; a torn last one is left out."""
    path = folder / CURVE
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]] if path.exists() else []


def told(found: Sequence[Trajectory]) -> dict[str, Any]:
    """What rollouts came to: means over those that are scored, None without any, and how they ended."""
    scored = [each for each in found if each.reward is not None]

    def mean(values: Sequence[float | None]) -> float | None:
        kept = [value for value in values if value is not None]
        return statistics.fmean(kept) if kept else None

    names = sorted({name for each in scored for name in each.parts})
    return {
        "reward": mean([each.reward for each in scored]),
        "progress": mean([each.progress for each in scored]),
        "parts": {name: mean([each.parts.get(name, 0.0) for each in scored]) for name in names},
        "scored": len(scored),
        "rollouts": len(found),
        "tokens": mean([float(sum(each.mask)) for each in found]),
        "turns": mean([float(len(each.turns)) for each in found]),
        "ended": dict(Counter(each.status for each in found)),
    }


def first(evaluation: dict[str, Any]) -> float:
    """The mean reward on the first set of an evaluation."""
    mean = next(iter(evaluation.values()))["reward"]
    return -math.inf if mean is None else float(mean)


def summary(folder: Path) -> list[str]:
    """What a run's curve shows, in lines."""
    curve = lines(folder)
    steps = [line for line in curve if "step" in line and "evaluation" not in line]
    tried = [line for line in curve if "evaluation" in line]
    if not steps:
        raise UsageError(f"{folder} holds no step of training yet.")
    rollouts, seconds = sum(line["rollouts"] for line in steps), steps[-1]["seconds"]["all"]
    shown = [f"{len(steps)} steps, {rollouts} rollouts in {seconds:.0f} s; the policy is in {folder / 'policy'}."]
    if not tried:
        return shown
    best = max(tried, key=lambda line: first(line["evaluation"]))
    shown[0] = shown[0][:-1] + f", as it was after step {best['step']}, where it did best."
    for name in tried[0]["evaluation"]:
        means = [line["evaluation"][name]["reward"] for line in (tried[0], best, tried[-1])]
        told = ["none" if value is None else f"{value:+.3f}" for value in means]
        shown.append(f"{name}: mean reward {told[0]} before, {told[1]} with this policy, {told[2]} at the end")
    return shown


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all; raises StorageError."""
    import torch

    data = io.BytesIO()
    torch.save(dict(state), data)
    write_whole(path, data.getvalue())


def load(path: Path, device: str) -> dict[str, Any] | None:
    """The checkpoint at `path`, None where there is none; raises UsageError for what is none."""
    import torch

    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # of many kinds
        raise UsageError(f"{path} is no checkpoint ({error}): take it away, and training begins anew.") from error
    return state


def _finite(value: Any) -> Any:
    """JSON has no infinity: such numbers are null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


def _flat(line: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, float]]:
    for key, value in line.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield before + key, value
