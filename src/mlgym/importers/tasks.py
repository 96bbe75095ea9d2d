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

    `baseline` is the published one. Ours is theirs times `factor`; `best` is the best published score, given where the
    best known of our task does not compare with it. `guarded` names files that the agent was not to change, `column` a
    column of scores that the submission itself states, `answers` files with the answers that lay in the workspace.
    """

    ours: str
    scores: tuple[str, ...]
    baseline: float
    factor: float = 1.0
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

    @property
    def start(self) -> Scores:
        """The published baseline on our metric."""
        return {self.task.metric: self.baseline * self.factor}

    @property
    def command_s(self) -> float:
        """The seconds that the original gave a training command."""
        return 2400.0 if self.ours in SLOW else 1800.0

    @property
    def scale(self) -> str:
        """The scale of progress, as our task has it."""
        anchors = self.task.anchors
        return anchors.scale if anchors else "identity"

    @property
    def top(self) -> float | None:
        """The best score known, on our metric."""
        if self.best is not None:
            return self.best * self.factor
        return self.task.anchors.best if self.task.anchors else None

    def progress(self, scores: Scores | None) -> float | None:
        """The progress of test scores: 0 at the published baseline, 1 at the best known."""
        base = self.start[self.task.metric]
        return metrics.progress(
            None if scores is None else scores.get(self.task.metric),
            baseline=base,
            baseline_test=base,
            best=self.top,
            direction=self.task.direction,
            scale=self.scale,
        )


@cache
def _loaded(name: str) -> Task:
    return load_task(name)


STEPS = 50  # of an episode
SLOW = ("image-captioning", "mnli", "language-modeling")
GUARDED = ("evaluate.py",)  # of every task
REWARD = ("Reward Mean", "Reward", "Mean Reward")
TARGET = ("target.py",)
SECONDS = 16.158  # of the published baseline; our metric is the ratio to the baseline's time
TASKS = {
    "regressionKaggleHousePrice": Theirs("house-price", ("r2",), 0.8799891474739243, answers=("answer.csv",)),
    "imageClassificationCifar10": Theirs("cifar10", ("accuracy",), 0.4971),
    "imageClassificationFMnist": Theirs("fashion-mnist", ("accuracy",), 0.7835),
    "imageCaptioningCOCO": Theirs(
        "image-captioning", ("BLEU Score",), 0.2793602467563585, best=0.327, column="bleu_score"
    ),
    "naturalLanguageInferenceMNLI": Theirs("mnli", ("validation_accuracy",), 52.51146204788589, factor=0.01),
    "languageModelingFineWeb": Theirs("language-modeling", ("val_loss",), 4.672730922698975),
    "battleOfSexes": Theirs("battle-of-sexes", ("Score",), 1.0226699113845825, guarded=TARGET),
    "prisonersDilemma": Theirs("prisoners-dilemma", ("Score",), 2.3716301918029785, guarded=TARGET),
    "blotto": Theirs("blotto", ("Score",), -0.24797001481056213, guarded=TARGET),
    "3SATTime": Theirs(
        "3sat", ("Time",), SECONDS, factor=1 / SECONDS, best=11.894, guarded=("solver.py", "dataset.pkl")
    ),
    "rlBreakoutMinAtar": Theirs("breakout", REWARD, 48.81718826293945),
    "rlMetaMazeMisc": Theirs("meta-maze", REWARD, 15.734375),
    "rlMountainCarContinuous": Theirs("mountain-car", REWARD, 33.793758392333984),
}
_BY_OURS = {theirs.ours: theirs for theirs in TASKS.values()}


def by_our_name(task: str) -> Theirs | None:
    """The task of the original that an imported episode's task was, if any."""
    return _BY_OURS.get(task)
