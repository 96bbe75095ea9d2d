"""What a policy begins with: its weights, and the conversations that warm it up."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlgym import names
from mlgym.disk import write_whole
from mlgym.errors import UsageError
from mlgym.models.local import local_file
from mlgym.rl import sft, tiny
from mlgym.rl.engine import Engine, Row
from mlgym.rl.recipe import TINY, Recipe
from mlgym.rl.sampling import TorchPolicy
from mlgym.rl.scripted import ScriptedPolicy
from mlgym.trajectory import Trajectory

Say = Callable[[str], None]
TEACHER = "teacher.jsonl"
AT_ONCE = 64  # episodes of the teacher in one call of the engine


def conversations(recipe: Recipe, folder: Path, engine: Callable[[Any], Engine], say: Say) -> list[Trajectory]:
    """The conversations of the recipe's warm-up: of its file, or of the teacher's episodes, which are kept in `folder`.

    Raises UsageError for a file that cannot be read.
    """
    warmup = recipe.warmup
    if warmup is None:
        return []
    if warmup.chats:
        return _read(Path(warmup.chats))
    path = folder / TEACHER
    if path.exists():
        return [Trajectory.model_validate_json(line) for line in path.read_bytes().splitlines()]
    taught = engine(ScriptedPolicy(names.resolve(warmup.teacher, {}, "teacher"), name="teacher"))
    drawn = recipe.drawn().draw(warmup.episodes, seed=recipe.seed)
    found: list[Trajectory] = []
    for first in range(0, len(drawn), AT_ONCE):
        found += taught.rollout([Row(task, seed) for task, seed in drawn[first : first + AT_ONCE]])
        say(f"{len(found)} of {len(drawn)} episodes of the teacher")
    taught.close()
    kept = [each for each in found if each.reward is not None]
    if not kept:
        raise UsageError(f"No episode of the teacher {warmup.teacher} was scored: {found[0].why}")
    write_whole(path, b"".join(each.model_dump_json().encode() + b"\n" for each in kept))
    return kept


def device(name: str) -> str:
    """The device of that name for torch, `auto` being a card where there is one. Raises UsageError."""
    import torch

    found = name if name != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"There is no device '{found}' for torch here ({str(error).splitlines()[0]}).") from error
    return found


def pretrained(recipe: Recipe, device: str) -> TorchPolicy | None:
    """The policy that the recipe names, None where it is made. Raises UsageError where it cannot be loaded."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if recipe.policy == TINY:
        return None
    where = recipe.policy.removeprefix("local/")
    path = local_file(where) if recipe.policy.startswith("local/") else Path(where).expanduser()
    if not path.exists():
        raise UsageError(f"There is no policy {recipe.policy}: give a folder of transformers, {TINY} or local/NAME.")
    folder, gguf = (path, "") if path.is_dir() else (path.parent, path.name)
    return TorchPolicy.load(folder, gguf=gguf, temperature=recipe.temperature, device=device)


def made(recipe: Recipe, folder: Path, taught: list[Trajectory], device: str) -> TorchPolicy:
    """The policy `tiny` with the weights that it begins with: made once, of what was `taught`, and kept in `folder`.

    Raises UsageError where nothing was.
    """
    path = folder / TINY
    if not (path / "made").exists():
        if not taught:
            raise UsageError("The policy tiny makes its words of a warm-up: the recipe needs a table [warmup].")
        texts = [message.content for each in taught for message in each.messages]
        tiny.make(path, texts, seed=recipe.seed, context=recipe.context, **recipe.tiny.model_dump())
        write_whole(path / "made", b"")
    return TorchPolicy.load(path, temperature=recipe.temperature, device=device)


def examples(policy: TorchPolicy, taught: list[Trajectory]) -> list[Trajectory]:
    """The conversations in the tokens of the policy."""

    def encode(text: str) -> list[int]:
        # No text is a mark of the template: a policy must not learn to write one where a stranger did.
        return list(policy.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))

    return [sft.example(policy, encode, each.messages, each.tools, each.task) for each in taught]


def _read(path: Path) -> list[Trajectory]:
    import json

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The chats in {path} cannot be read: {error}.") from error
    found = []
    for number, line in enumerate(filter(str.strip, text.splitlines()), 1):
        try:
            messages, tools = sft.chat(json.loads(line))
        except (ValueError, UsageError, KeyError, TypeError) as error:
            raise UsageError(f"{path}, line {number}, is no chat: {str(error).rstrip('.')}.") from error
        found.append(Trajectory(task="", messages=tuple(messages), tools=tuple(tools), reward=0.0))
    if not found:
        raise UsageError(f"The file {path} has no chats.")
    return found
