"""All shipped forgeries, and which of them to try on a task."""

import random
from collections.abc import Sequence

from mlgym.errors import UsageError
from mlgym.grading.forgeries.captions import CAPTIONS
from mlgym.grading.forgeries.classifiers import CLASSIFIERS
from mlgym.grading.forgeries.common import COMMON, MODELS
from mlgym.grading.forgeries.forgery import DEFENCES, Forgery
from mlgym.grading.forgeries.games import GAMES
from mlgym.grading.forgeries.language_models import LANGUAGE_MODELS
from mlgym.grading.forgeries.policies import POLICIES
from mlgym.grading.forgeries.queries import QUERIES
from mlgym.grading.forgeries.sat import SAT
from mlgym.grading.forgeries.shells import SHELLS
from mlgym.grading.forgeries.tables import TABLES
from mlgym.grading.forgeries.texts import TEXTS

ALL = "all"  # defences, each for its own forgeries
FORGERIES: tuple[Forgery, ...] = (
    *COMMON,
    *SHELLS,
    *MODELS,
    *TABLES,
    *CAPTIONS,
    *CLASSIFIERS,
    *GAMES,
    *LANGUAGE_MODELS,
    *POLICIES,
    *QUERIES,
    *SAT,
    *TEXTS,
)


def fitting(kind: str) -> list[Forgery]:
    """The forgeries of a kind of task."""
    return [forgery for forgery in FORGERIES if not forgery.kinds or kind in forgery.kinds]


def guarded(name: str, kind: str) -> list[Forgery]:
    """The forgeries of a kind that a defence (or `all`) foils, or the one of that name; UsageError for no such."""
    if name not in (ALL, *DEFENCES) and name not in {forgery.name for forgery in FORGERIES}:
        raise UsageError(f"There is no defence and no attack {name!r}: `mlgym check --attacks --list` names them.")
    return [forgery for forgery in fitting(kind) if forgery.guard and name in (ALL, forgery.guard, forgery.name)]


def tenth(forgeries: Sequence[Forgery], seed: str, task: str) -> list[Forgery]:
    """A tenth of them, drawn by seed and task: over many seeds all have their turn."""
    rng = random.Random(f"{seed} {task}")
    return [forgery for forgery in forgeries if rng.random() < 0.1]
