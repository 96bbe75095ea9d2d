"""The records that every later part reads: frozen, strict, JSON both ways.

Scores are dictionaries metric -> value, as the task's grader returns them. Seconds are wall seconds of three separate
clocks: `command_s` (tools in the sandbox), `model_s` (the provider) and `grader_s` (grading).
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Scores = dict[str, float]
Split = Literal["validation", "test"]
Isolation = Literal["full", "partial", "none"]
Stage = Literal["", "files", "ran", "graded", "tampered"]
DEEPEST = 50
LARGE = "large"
SURROGATES = re.compile("[\ud800-\udfff]")


def clean(value: Any, depth: int = 0) -> Any:
    """`value` with what JSON cannot hold made harmless: lone surrogates in text, and nesting beyond DEEPEST levels."""
    if isinstance(value, str):
        return value if value.isascii() else SURROGATES.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, dict | list | tuple) and depth > DEEPEST:
        return f"(nested more than {DEEPEST} levels deep)"
    if isinstance(value, dict):
        return {clean(key): clean(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(clean(item, depth + 1) for item in value)
    return value


Text = Annotated[str, BeforeValidator(clean)]
Args = Annotated[dict[str, Any], BeforeValidator(clean)]


class Record(BaseModel):
    """A frozen, strict record; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", ser_json_inf_nan="constants")

    def changed(self, **fields: Any) -> Self:
        """A copy with other values in these fields, checked like the first."""
        return type(self).model_validate({**dict(self), **fields})


class Action(Record):
    """One tool call. `call` joins the parallel calls of one reply, `id` is the provider's id of this call."""

    tool: Text
    args: Args = Field(default_factory=dict)
    thought: Text = ""
    id: Text = ""
    call: str = ""


class Checkpoint(Record):
    """Save the episode's state under a name, which a later save under the same name replaces. No step, and sent back is
    an Observation with what is left. What runs in the background ends. What is saved under the empty name counts where
    the episode ends, but for `submit`, before it is gone back to.
    """

    name: Text


class Restore(Record):
    """Take the episode back to the state saved under a name; counters never go back. No step, as a Checkpoint."""

    name: Text


class Branch(Record):
    """Actions taken one after another from the state saved as `at`; where they lead is saved as `name`, if any."""

    at: Text
    actions: tuple[Action, ...]
    name: Text = ""


class Branches(Record):
    """Several branches, each action a step; the state then is the one before, and so it is where a limit ends the
    episode in one of them. Sent back is a tuple of the branches, each a tuple of the observations of its actions.
    """

    branches: tuple[Branch, ...]


Move = Action | Checkpoint | Restore | Branches


class Observation(Record):
    """What the agent gets back. `validation` holds the scores that it was shown, when the step graded a submission.

    `hit` names the bound of the sandbox that the step ran into: oom, disk, processes, output or timeout.
    """

    text: Text
    status: Literal["ok", "error", "timeout", "format", "end"] = "ok"
    tool: str = ""
    hit: str = ""
    validation: Scores | None = None
    steps_left: int | None = None
    money_left: float | None = None
    seconds_left: float | None = None
    id: str = ""


class Limits(Record):
    """Bounds of one episode; None is no bound. `seconds` counts command seconds only, `command_s` is per command, but
    for `training_s` where that is given: a command in which Python is started then has that long.
    """

    steps: int | None = 50
    seconds: float | None = None
    command_s: float = 1800.0
    training_s: float | None = None
    money: float | None = None
    tokens: int | None = None

    @property
    def told(self) -> str:
        """All of them in words."""
        longer = "" if self.training_s is None else f" ({self.training_s:g} for one that starts Python)"
        parts = [
            f"{self.steps} steps, each tool call or command being one" if self.steps is not None else "",
            f"{self.seconds:g} seconds of commands in all" if self.seconds is not None else "",
            f"{self.command_s:g} seconds for one command{longer}",
            f"{self.money:.2f} dollars for the model's replies" if self.money is not None else "",
            f"{self.tokens:,} tokens, sent and received" if self.tokens is not None else "",
        ]
        return "; ".join(filter(None, parts))


class Brief(Record):
    """All that an agent is told at the start. `tools` are JSON schemas of functions.

    `baseline` has `scores` (validation scores of the starting workspace), `command` (how to run the baseline; may be
    empty) and `files` (the files that make it up, relative to the workspace). `machine` describes processors, memory,
    GPU, packages and network. `feedback` is the split that `validate` shows.
    """

    task: str
    title: str
    instruction: str
    tools: tuple[dict[str, Any], ...]
    limits: Limits
    metric: str
    direction: Literal["maximize", "minimize"]
    baseline: dict[str, Any]
    seed: int
    machine: dict[str, Any]
    feedback: Split = "validation"


class Provenance(Record):
    """What an attempt was graded by: all that its scores depend on beside its files.

    `grader` is a hash of the hidden module, the shared graders that it uses and their settings, `data` one of the
    answers (games draw a salt anew for each cache), `seed` the luck of the test. `environment` is the key of the pins
    of the submission's code, or what an environment of the user's has, `grader_environment` that of the grader's.
    `validations` counts those of the episode so far, this attempt included.
    """

    task: str
    version: int
    grader: str
    data: str
    seed: int = 0
    environment: str = ""
    grader_environment: str = ""
    backend: str = ""
    isolation: Isolation = "full"
    feedback: Split = "validation"
    validations: int = 0


class Attempt(Record):
    """One graded submission. `files` (graded) and `code` (the workspace's sources beside it) map path -> sha256;
    `fallback` marks the last valid one standing in at the end. `stage` is how far it came: no files (empty), files,
    their code ran, graded; or tampered, where that code wrote into the grader's pipe. It is the grading's word, not the
    sandbox's. Attempts of older folders have no `provenance` and no `stage`.
    """

    n: int
    step: int
    kind: Literal["validate", "submit", "end"]
    files: dict[str, str] = Field(default_factory=dict)
    code: dict[str, str] = Field(default_factory=dict)
    valid: bool = False
    why: Text = ""
    validation: Scores | None = None
    test: Scores | None = None
    fallback: bool = False
    stage: Stage = ""
    provenance: Provenance | None = None


class Step(Record):
    """One step of an episode as it is stored. `reward` is None where an infrastructure fault left it unscored; `calls`
    counts the model's answers up to its action. `marks` are what was done with checkpoints before it, in order: "+NAME"
    was saved, "-NAME" gone back to.
    """

    n: int
    action: Action
    observation: Observation
    reward: float | None = 0.0
    command_s: float = 0.0
    model_s: float = 0.0
    grader_s: float = 0.0
    attempt: int | None = None
    calls: int = 0
    marks: tuple[str, ...] = ()


class Changes(Record):
    """What step `n` changed of the workspace's sources, since where its `marks` had left them: path -> sha256, empty
    where the file is gone, LARGE where it has become too large to be kept. Step 0 has all sources as the agent found
    them. Not `whole`: some were not looked at. A step without a record changed nothing, and was looked at as the last
    one before it was.
    """

    n: int
    files: dict[str, str] = Field(default_factory=dict)
    whole: bool = True
    marks: tuple[str, ...] = ()


class Cost(Record):
    """What an episode used: dollars (None: price unknown), tokens (`tokens_cached` of those sent came from a provider's
    cache), model calls, the three clocks in seconds, and the seconds of processors that its sandbox took.
    """

    money: float | None = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    calls: int = 0
    command_s: float = 0.0
    model_s: float = 0.0
    grader_s: float = 0.0
    cpu_s: float = 0.0


class Result(Record):
    """The end of an episode. `ended`: submitted, gave_up, steps, money, tokens, context, time or error.

    `boundary` says what failed (agent, model, sandbox, grader, budget), empty when nothing did. `final` are the test
    scores of the final submission, `selected` those of the attempt with the best validation; `baseline` maps split ->
    scores of the starter. `progress` is that of `final` (-1 without a valid score), None where the task has no scale
    or an infrastructure fault left the episode unscored. `data` names data that stands in for the task's own, `python`
    says what an environment of the user's had. `hits` counts the bounds that were run into, by name; `processors` were
    given (0: no share was set aside), and the cards `gpus`. `network` are the hosts that a proxy let through, empty for
    all hosts, None where there was no network. `source` says from where the episode went on, `imported` which
    recorded run of another system it was read from. `lasting`: what left it unscored will do so again until somebody
    changes something.
    """

    ended: str
    boundary: str = ""
    why: Text = ""
    metric: str = ""
    attempts: tuple[Attempt, ...] = ()
    final: Scores | None = None
    selected: Scores | None = None
    best: Scores | None = None
    baseline: dict[str, Scores] = Field(default_factory=dict)
    progress: float | None = None
    scored: bool = True
    lasting: bool = False
    steps: int = 0
    cost: Cost = Cost()
    isolation: Isolation = "full"
    backend: str = ""
    feedback: Split = "validation"
    oracle: bool = False
    data: str = ""
    python: str = ""
    hits: dict[str, int] = Field(default_factory=dict)
    processors: float = 0.0
    gpus: tuple[int, ...] = ()
    network: tuple[str, ...] | None = None
    source: str = ""
    imported: str = ""
    notes: tuple[str, ...] = ()


class Failure(Record):
    """Why an episode has no result now: the boundary that failed (model, sandbox, grader), or `stopped` where it was
    asked to stop and can go on, or `busy` where another process runs it. `lasting` as in a Result.
    """

    boundary: str
    why: Text = ""
    lasting: bool = False


Outcome = Result | Failure


class EpisodeSpec(Record):
    """Everything that decides an episode; its JSON is `spec.json`. `task` is a name or a folder's path, `python` an
    interpreter of the user's, empty for the task's own environment. `processors` takes the place of the task's figure;
    `network` are the hosts that a proxy lets through, None no network at all, empty all hosts. More validations than
    `max_validations` are not refused but flagged by `mlgym audit`. `source` is EPISODE@STEP where the first
    steps are those of another episode. `imported` names the recorded run of another system that it was read from; its
    `version` is 0, since none of our versions of the task graded it.
    `memory` is where notes are kept from episode to episode: a folder, or "run" for the run's own; `papers` are where
    literature is looked up, with commas between. Both empty: no such tools. `packages` are the pins of the environment
    of an agent that is a program of its own, `unsafe` lets it run outside any sandbox.
    """

    task: str
    version: int = 1
    agent: str
    model: str = ""
    sampling: dict[str, Any] = Field(default_factory=dict)
    base_url: str = ""
    tools: str = "modern"
    seed: int = 0
    sandbox: str = "auto"
    feedback: Split = "validation"
    limits: Limits = Limits()
    python: str = ""
    processors: float | None = None
    network: tuple[str, ...] | None = None
    max_validations: int | None = None
    source: str = ""
    imported: str = ""
    memory: str = ""
    papers: str = ""
    packages: tuple[str, ...] = ()
    unsafe: bool = False


class ToolCall(Record):
    """A tool call as a model wrote it; `arguments` is its raw JSON text, possibly malformed."""

    id: Text
    name: Text
    arguments: Text


class Message(Record):
    """One message of a conversation; `id` is the tool call that a `tool` message answers.

    `extra` are blocks of the provider, such as signed thinking, that must go back to it as they came.
    """

    role: Literal["system", "user", "assistant", "tool"]
    content: Text
    calls: tuple[ToolCall, ...] = ()
    id: Text = ""
    extra: tuple[dict[str, Any], ...] = ()


class Reply(Record):
    """A model's answer. `money` in dollars, None where the price is unknown; `stop` is the provider's stop reason.

    `extra` goes into the message that repeats the reply to the model. `reasoning` is what a provider shows of the
    model's thinking, apart from its text. `tokens_cached` of `tokens_in` came from the provider's cache. Where a router
    or server tells them: `upstream`, who really served it, its `quantization`, and its own account in dollars
    `told_money`; `unpinned` says that a router chose who served it.
    """

    text: Text
    calls: tuple[ToolCall, ...] = ()
    extra: tuple[Args, ...] = ()
    tokens_in: int = 0
    tokens_out: int = 0
    money: float | None = 0.0
    stop: Text = ""
    model: Text = ""
    seconds: float = 0.0
    reasoning: Text = ""
    tokens_cached: int = 0
    upstream: Text = ""
    quantization: Text = ""
    told_money: float | None = None
    unpinned: bool = False


def better(a: float, b: float, direction: str) -> bool:
    """Whether score `a` is strictly better than `b`; NaN is never better."""
    return a > b if direction == "maximize" else a < b


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the tables of `over` laid on it, table by table; lists are replaced, an empty table empties one."""
    out = dict(base)
    for key, value in over.items():
        both = bool(value) and isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = merged(out[key], value) if both else value
    return out


class Made(Record):
    """Which task of its family a made task is: `difficulty` is 0 (easiest) to 1."""

    family: str
    seed: int = Field(ge=0)
    difficulty: float = Field(ge=0, le=1)


class Source(Record):
    """A data file that a task needs, with its sha256 or md5 in hex.

    It is the `member` of a `package` of a registry (a wheel's or npm's pin, the name of a Debian package), without
    `member` the package itself; or what lies at `url`, of some `mb` megabytes. A user may have it as the folder
    `unpacked` instead. Only an address may come without a checksum: that which its server promises counts then.
    """

    name: str
    kind: Literal["wheel", "npm", "deb", "url"] = "wheel"
    package: str = ""
    member: str = ""
    url: str = ""
    sha256: str = Field(default="", pattern="^([0-9a-f]{64})?$")
    md5: str = Field(default="", pattern="^([0-9a-f]{32})?$")
    mb: float | None = None
    unpacked: str = ""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind == "url" and not re.match("https?://", self.url):
            raise ValueError(f"the source '{self.name}' needs a url")
        if self.kind != "url" and not (self.package and (self.sha256 or self.md5)):
            raise ValueError(f"the source '{self.name}' needs a package and its sha256")
        return self
