"""The original's tasks and metrics in the words of ours."""

import math
from dataclasses import dataclass
from functools import cache

from mlgym import metrics
from mlgym.records import Scores
from mlgym.task import Task, load_task


@dataclass(frozen=True)
class Theirs:
    """A task of the original. Its `scores` are, in order of preference, the names that its metric has had.

    Ours is theirs times `factor`. `baseline` and `best` are published scores on our metric, where those of our task do
    not compare; `guarded` names files that the agent was not to change, `column` a column of scores that the
    submission itself states, `answers` files with the answers that lay in the workspace.
    """

    ours: str
    scores: tuple[str, ...]
    factor: float = 1.0
    baseline: float | None = None
    best: float | None = None
    guarded: tuple[str, ...] = ()
    column: str = ""
    answers: tuple[str, ...] = ()

    @property
    def task(self) -> Task:
        """Our task: its metric, direction and scale."""
        return _loaded(self.ours)

    def translated(self, theirs: dict[str, float]) -> Scores | None:
        """Their scores with our metric first, what else they had kept; None without a finite score of the metric."""
        finite = {name: value for name, value in theirs.items() if math.isfinite(value)}
        name = next((name for name in self.scores if name in theirs), "")
        if name not in finite or finite.get("Incorrect", 0):
            return None
        metric = self.task.metric
        return {metric: finite[name] * self.factor, **{key: value for key, value in finite.items() if key != metric}}

    def progress(self, scores: Scores | None) -> float | None:
        """The progress of test scores: on our task's anchors where published figures compare with them."""
        task = self.task
        if self.baseline is None:
            return task.progress(scores, "test")
        return metrics.progress(
            None if scores is None else scores.get(task.metric),
            baseline=self.baseline,
            baseline_test=self.baseline,
            best=self.best,
            direction=task.direction,
            scale=task.anchors.scale if task.anchors else "identity",
        )


@cache
def _loaded(name: str) -> Task:
    return load_task(name)


REWARD = ("Reward Mean", "Reward", "Mean Reward")
SECONDS = 16.158  # of the 3sat baseline, as published: our metric is the ratio to the baseline's time
TASKS = {
    "regressionKaggleHousePrice": Theirs("house-price", ("r2",), answers=("answer.csv",)),
    "imageClassificationCifar10": Theirs("cifar10", ("accuracy",)),
    "imageClassificationFMnist": Theirs("fashion-mnist", ("accuracy",)),
    "imageCaptioningCOCO": Theirs(
        "image-captioning", ("BLEU Score",), baseline=0.2793602467563585, best=0.327, column="bleu_score"
    ),
    "naturalLanguageInferenceMNLI": Theirs("mnli", ("validation_accuracy",), factor=0.01),
    "languageModelingFineWeb": Theirs("language-modeling", ("val_loss",)),
    "battleOfSexes": Theirs("battle-of-sexes", ("Score",), guarded=("target.py",)),
    "prisonersDilemma": Theirs("prisoners-dilemma", ("Score",), guarded=("target.py",)),
    "blotto": Theirs("blotto", ("Score",), guarded=("target.py",)),
    "3SATTime": Theirs(
        "3sat",
        ("Time",),
        factor=1 / SECONDS,
        baseline=1.0,
        best=11.894 / SECONDS,
        guarded=("solver.py", "dataset.pkl"),
    ),
    "rlBreakoutMinAtar": Theirs("breakout", REWARD),
    "rlMetaMazeMisc": Theirs("meta-maze", REWARD),
    "rlMountainCarContinuous": Theirs("mountain-car", REWARD),
}
GUARDED = ("evaluate.py",)  # of every task
_BY_OURS = {theirs.ours: theirs for theirs in TASKS.values()}


def progress(task: str, scores: Scores | None) -> float | None:
    """The progress of an imported episode's test scores; `task` is the name of ours."""
    return _BY_OURS[task].progress(scores) if task in _BY_OURS else None
