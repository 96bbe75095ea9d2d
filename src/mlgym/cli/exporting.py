"""From the flags of `mlgym data export` to an export, with all that the exporters must not import."""

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mlgym import tools
from mlgym.audit import audit
from mlgym.exporters import FORMATS, Exported, Given, Options, export
from mlgym.grid import checked
from mlgym.pack import words
from mlgym.records import EpisodeSpec
from mlgym.scrub import Here, Scrubber

# What an audit may find in an episode that is no reason to distrust it.
HARMLESS = ("splits far apart", "isolation", "feedback", "fallback", "validations", "network tried")
EVERY_S = 10.0
ROLES = ("system", "user", "assistant", "tool", "human", "gpt", "function", "agent")


def run(sources: Sequence[Path], out: Path, asked: dict[str, Any], say: Callable[[str], None]) -> Exported:
    """Export; raises UsageError with the option that is wrong."""
    options = checked(Options, asked)
    told = time.monotonic()

    def tell(line: str) -> None:
        nonlocal told
        if time.monotonic() - told > EVERY_S:
            told = time.monotonic()
            say(line)

    scrubber = Scrubber(Here.now(), {*words(), *ROLES, *_names(list(FORMATS.values()))})
    given = Given(_schemas, suspicious, scrubber.value, version("mlgym-env"))
    return export(sources, out, options, given, tell)


def suspicious(folder: Path) -> list[str]:
    """What an audit finds in an episode's folder that speaks against learning from it."""
    return [f"{flag.what}: {flag.why}" for flag in audit(folder)[0] if flag.what not in HARMLESS]


def _names(shape: Any) -> Iterator[str]:
    """The names of columns, which no user's or host's name may be taken for."""
    if isinstance(shape, dict):
        yield from shape
        yield from (name for inner in shape.values() for name in _names(inner))
    elif isinstance(shape, list):
        yield from (name for inner in shape for name in _names(inner))


@functools.lru_cache(maxsize=64)
def _of(name: str, memory: bool, papers: bool) -> tuple[dict[str, Any], ...]:
    return tuple(tools.schema(tool) for tool in tools.toolset(name, memory=memory, papers=papers).values())


def _schemas(spec: EpisodeSpec) -> tuple[dict[str, Any], ...]:
    """The tools of an episode, as a model is told them."""
    return _of(spec.tools, bool(spec.memory), bool(spec.papers))
