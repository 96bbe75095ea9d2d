"""Protocols by name: what a grid must not change if its results are to stand beside others' of the same protocol."""

from typing import Any

from pydantic import Field

from mlgym.errors import UsageError
from mlgym.names import split
from mlgym.records import Record

PAPER, OURS = "mlgym-2025", "v1"
BOUNDS = ("steps", "seconds", "command_s", "training_s", "money", "tokens")


class Preset(Record):
    """What a protocol fixes: fields of the grid and bounds of an episode (one that is not named is the task's own).

    `longer` has other seconds of a training command for some tasks, `react` options that the agent of that name gets
    where it does not say otherwise, `isolation` what the sandbox must give. So many `seeds` are usual, none forbidden.
    """

    about: str
    seeds: int = 4
    fields: dict[str, Any]
    limits: dict[str, Any] = Field(default_factory=dict)
    longer: dict[str, float] = Field(default_factory=dict)
    react: dict[str, Any] = Field(default_factory=dict)
    isolation: str = ""


OWN: dict[str, Any] = {"network": "", "python": "", "memory": "", "papers": ""}
PRESETS = {
    PAPER: Preset(
        about="the published runs' (arXiv 2502.14499)",
        fields={"feedback": "test", "tools": "classic", **OWN},
        limits={"steps": 50, "money": 4.0, "command_s": 25.0, "training_s": 1800.0},
        longer={"image-captioning": 2400.0, "mnli": 2400.0, "language-modeling": 2400.0},
        react={"window": 5, "strict": True},
    ),
    OURS: Preset(
        about="ours: the task's own limits, 4 dollars, feedback on validation data, full isolation, no network",
        fields={"feedback": "validation", "tools": "modern", "processors": None, **OWN},
        limits={"money": 4.0},
        isolation="full",
    ),
}


def preset(name: str) -> Preset:
    """The protocol of that name; raises UsageError for an unknown one."""
    if name not in PRESETS:
        raise UsageError(f"There is no protocol '{name}'; there are {' and '.join(PRESETS)}.")
    return PRESETS[name]


def laid(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """The fields of a grid with those that the protocol fixes; raises UsageError where `given` has another value."""
    rules = preset(name)
    limits = {key: rules.limits.get(key) for key in BOUNDS}
    for fixed, mine, prefix in ((rules.fields, given, ""), (limits, given.get("limits", {}), "limits.")):
        for key, value in fixed.items():
            if mine.get(key, value) != value:
                own = "the task's own" if value is None else "none" if value == "" else f"{value}"
                raise UsageError(
                    f"The protocol {name} fixes {prefix}{key} ({own}), and {mine[key]} was asked for: leave that out, "
                    "or leave out the protocol."
                )
    named = {key: value for key, value in limits.items() if value is not None}
    return {"seeds": rules.seeds, **given, **rules.fields, "limits": named, "protocol": name}


def agent(name: str, spec: str) -> str:
    """The agent with the options that the protocol gives it; what it says itself stays."""
    kind, options = split(spec)
    said = options
    if kind == "best-of-n":  # what it does not know itself are options of the agent that it lets try
        kind, own = split(str(options.get("agent", "react")))
        said = {**own, **options}
    more = {key: value for key, value in preset(name).react.items() if kind == "react" and key not in said}
    told = [f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in more.items()]
    return spec + ("&" if options else "?") * bool(told) + "&".join(told)
