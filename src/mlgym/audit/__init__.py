"""Suspicious episodes of a run, each with its reason and what shows it. Stored records are read, nothing is run.

What an agent tried is told by words in its actions and files: a heuristic, that can miss and can err. Whether the
recorded scores are true is another question, which `mlgym.regrade` answers.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mlgym.audit import conditions, records, scores, tricks
from mlgym.audit.seen import Seen, read
from mlgym.errors import MlgymError, UsageError
from mlgym.store import episodes

SHOWN = 5  # flags of one kind in an episode
CHECKS: dict[str, Callable[[Seen], Iterator[str]]] = {
    "too good": scores.too_good,
    "splits far apart": scores.far_apart,
    "tampering tried": tricks.tampering,
    "network tried": tricks.network,
    "files changed": records.files,
    "attempts and steps": records.steps,
    "result does not follow": records.result,
    "graded differently": conditions.graders,
    "isolation": conditions.isolation,
    "feedback": conditions.feedback,
    "found by the import": conditions.imported,
    "fallback": conditions.fallback,
    "validations": conditions.validations,
}


@dataclass(frozen=True)
class Flag:
    """Something suspicious about an episode: `what` in a few fixed words, `why` as it shows in its records."""

    episode: str
    what: str
    why: str


def audit(run: Path) -> tuple[list[Flag], list[str]]:
    """The flags of all episodes under a run's or an episode's folder, and notes on what could not be looked at.

    Raises UsageError where there is no episode.
    """
    flags: list[Flag] = []
    notes: list[str] = []
    isolations: dict[str, str] = {}
    folders = list(episodes(run))
    if not folders:
        raise UsageError(f"There is no episode in {run}; give a run's or an episode's folder.")
    for folder in folders:
        name = str(folder if folder == run else folder.relative_to(run))
        try:
            seen = read(folder)
            for what, check in CHECKS.items():
                flags += [Flag(name, what, why) for why in _few(check(seen))]
        except (MlgymError, ValueError, OSError, LookupError, ArithmeticError) as error:
            flags.append(Flag(name, "unreadable records", (str(error) or type(error).__name__).splitlines()[0]))
            continue
        if seen.elsewhere:
            notes.append(f"{name}: {seen.elsewhere}, so its scores were not compared with the task's anchors.")
        if seen.result is None:
            notes.append(f"{name}: it has not ended.")
        for kind in seen.isolations:
            isolations.setdefault(kind, name)
    if len(isolations) > 1:
        which = ", ".join(f"{kind} (as in {name})" for kind, name in sorted(isolations.items()))
        flags.append(Flag(str(run), "mixed isolation", f"what was graded in this run differs in isolation: {which}"))
    return flags, notes


def _few(found: Iterator[str]) -> list[str]:
    """The first SHOWN, and how many more there are."""
    reasons = list(dict.fromkeys(found))
    more = len(reasons) - SHOWN
    return reasons if more <= 0 else [*reasons[:SHOWN], f"and {more} more of this kind"]
