"""A recipe: what is trained, on which tasks and how, from a file `recipe.toml` and from flags."""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from mlgym import names
from mlgym.curriculum import MADE, Curriculum
from mlgym.errors import UsageError
from mlgym.grid import Bounds, Line, checked
from mlgym.mistakes import shown
from mlgym.records import Args, Record, merged
from mlgym.task import Positive, for_training, load_task, suites

SHIPPED = Path(__file__).parent / "recipes"
TINY = "tiny"
NOT_KEPT = (
    "steps",
    "environments",
    "device",
    "threads",
    "at_once",
    "checkpoint_every",
    "deadline",
)  # may differ where a run goes on

Names = Annotated[tuple[Line, ...], Field(min_length=1, max_length=1000)]
Count = Annotated[int, Field(ge=1)]


class Tiny(Record):
    """The policy `tiny`: width and layers of a model with random weights, and the most tokens of its vocabulary."""

    hidden: int = Field(default=64, ge=16, multiple_of=16)
    layers: Count = 2
    vocabulary: int = Field(default=512, ge=300)


class Warmup(Record):
    """Supervised steps before the others, each on `rows` conversations: `episodes` of a `teacher`, a function of the
    conversation as text and a seed which writes a reply, on the recipe's tasks; or those of a file of `chats`.
    """

    teacher: Line = ""
    chats: Line = ""
    episodes: Count = 300
    steps: Count = 300
    rows: Count = 16
    lr: Positive = 3e-3

    @model_validator(mode="after")
    def _one(self) -> Self:
        if bool(self.teacher) == bool(self.chats):
            raise ValueError("should have a teacher or a file of chats, and not both")
        return self


class Evaluation(Record):
    """Named sets of tasks on which the policy is tried, with `episodes` each: before the first step, after every
    `every`-th (0: none) and at the end. The first set tells which weights are the best.
    """

    every: int = Field(default=0, ge=0)
    episodes: Count = 32
    sets: dict[str, Names] = Field(default_factory=dict)


class Recipe(Record):
    """What `recipe.toml` says.

    `policy` is tiny, a folder of transformers, or local/smollm2. `tasks` are names, folders and suites; a name such as
    `maze-s0..99-d0.4` leaves a seed open. They are drawn by `weights`, with `curriculum` by learnability too. Each step
    has `rows` rollouts in groups of `group`, `epochs` updates with the learning rate `lr` (rising to it over `rise`
    steps), by `algorithm` with its `options`. `at_once` bounds the rows that go through the model together (0: all),
    `reference` keeps the weights it began with, `shuffle_rewards` is the control: rewards are permuted among all
    rollouts of a step. `protocol`, `prompt`, `reward`, `max_tokens`, `context`, `deadline` and `environments` are those
    of the engine; `store` keeps the episodes of every `store`-th group. All draws follow from `seed`.
    """

    policy: Line = TINY
    tasks: Names
    weights: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(default_factory=dict)
    curriculum: bool = False
    group: int = Field(default=8, ge=2)
    rows: Count = 32
    steps: Count = 100
    epochs: Count = 1
    lr: Positive = 1e-3
    rise: int = Field(default=0, ge=0)
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    max_norm: Positive = 1.0
    at_once: int = Field(default=0, ge=0)
    algorithm: Line = "grpo"
    options: Args = Field(default_factory=dict)
    reference: bool = False
    shuffle_rewards: bool = False
    seed: int = Field(default=0, ge=0)
    temperature: Positive = 1.0
    protocol: Line = "plain"
    prompt: Line = ""
    reward: Line = "shaped"
    max_tokens: Count = 64
    context: Count = 1024
    limits: Bounds = Bounds()
    sandbox: Line = "auto"
    environments: Count | Line = 2
    deadline: Positive | None = None
    store: int = Field(default=0, ge=0)
    device: Line = "auto"
    threads: Count = 1
    checkpoint_every: Count = 10
    tiny: Tiny = Tiny()
    warmup: Warmup | None = None
    evaluation: Evaluation = Evaluation()

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.rows % self.group:
            raise ValueError(f"rows ({self.rows}) should be a multiple of group ({self.group})")
        if unknown := set(self.weights) - set(self.tasks):
            raise ValueError(f"weights should be those of its tasks, and '{min(unknown)}' is none")
        return self

    def with_changes(self, changes: Mapping[str, Any]) -> "Recipe":
        """The recipe with other values in these fields, table by table; lists take the place of lists."""
        return checked(Recipe, merged(self.model_dump(mode="json", exclude_unset=True), changes))

    def drawn(self) -> Curriculum:
        """The curriculum that draws its tasks; raises UsageError for one that there is not."""
        weights = {member: self.weights.get(name, 1.0) for name in self.tasks for member in members([name])}
        return Curriculum(weights, weights, self.curriculum, self.seed)

    def check(self, include_eval: bool = False) -> None:
        """Raises UsageError for a task that there is not, and for one of the benchmark's own unless `include_eval`.

        Those of the evaluation may be the benchmark's: nothing is learned there.
        """
        for_training(map(known, members(self.tasks)), include_eval)
        for name in (name for each in self.evaluation.sets.values() for name in members(each)):
            known(name)


def members(given: Iterable[str]) -> list[str]:
    """The names, with those of its tasks in the place of each suite, each once."""
    every = suites()
    return list(dict.fromkeys(one for name in given for one in (every[name].tasks if name in every else (name,))))


def known(name: str) -> Any:
    """The Task of a name; of one that leaves a seed open, the first that it may be."""
    return load_task(MADE.sub(lambda found: f"-s{found[1].split('..')[0].replace('*', '0')}", name))


def read_recipe(path: Path | str, changes: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe of a TOML file, or the shipped one of that name; folders in it are meant from the file's own folder.

    `changes` are laid over it. Raises UsageError with the file, the key, and what it may be.
    """
    file = Path(path)
    if not file.exists() and file.name == str(path) and (SHIPPED / f"{path}.toml").exists():
        file = SHIPPED / f"{path}.toml"
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        ours = ", ".join(sorted(each.stem for each in SHIPPED.glob("*.toml")))
        raise UsageError(f"There is no recipe {path}: give a file, or a shipped one ({ours}).") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: {str(error).rstrip('.').splitlines()[0]}.") from error
    recipe = checked(Recipe, data, f"{path}: ")
    here = file.resolve().parent
    moved: dict[str, Any] = {"tasks": [_from(here, name) for name in recipe.tasks]}
    sets = {name: [_from(here, task) for task in tasks] for name, tasks in recipe.evaluation.sets.items()}
    moved |= {"evaluation": {"sets": sets}} if sets else {}
    if recipe.policy != TINY and not recipe.policy.startswith("local/"):
        moved["policy"] = _from(here, recipe.policy, anyway=True)
    if recipe.warmup and recipe.warmup.chats:
        moved["warmup"] = {"chats": _from(here, recipe.warmup.chats, anyway=True)}
    if recipe.weights:
        moved["weights"] = {_from(here, name): weight for name, weight in recipe.weights.items()}
        recipe = recipe.with_changes({"weights": {}})
    return recipe.with_changes(moved).with_changes(changes or {})


def changes(given: Iterable[str]) -> dict[str, Any]:
    """What `key=value` on a command line means: a key may have dots, a value is JSON where it parses.

    Raises UsageError for anything else.
    """
    found: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise UsageError(f"--set takes key=value, such as lr=0.001 or options.clip=0.1, and not {shown(text)}.")
        table: dict[str, Any] = {key.split(".")[-1]: names.value(value)}
        for part in reversed(key.split(".")[:-1]):
            table = {part: table}
        found = merged(found, table)
    return found


def _from(here: Path, name: str, anyway: bool = False) -> str:
    """A name from the folder `here` where it is a path."""
    return str(here / name) if (anyway or "/" in name) and not name.startswith("~") else name
