"""`protocol.lock`: under which conditions a run's episodes were made, so that no table mixes what does not compare.

It has two parts. `task_protocol` must agree within a table: for each task its version and content, where its data comes
from, limits, feedback, tools, isolation, network, processors, cards and packages. `method` may differ: the agents with
their options, code and prompts, the models, sampling, the protocol of tool calls, and the bound of a model without a
price. Each part, each task and each method has a hash (the first 16 hex digits of a sha256) of all that stands in it.
"""

import fcntl
import hashlib
import inspect
import json
import platform
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mlgym import agents, presets, tools
from mlgym.allocator import usable
from mlgym.cards import cards
from mlgym.disk import guarded, write_whole
from mlgym.errors import SandboxError, UsageError
from mlgym.grading.prepare import UNCHECKED, grader_version, ready
from mlgym.memory import RUN
from mlgym.own_python import own_python
from mlgym.records import EpisodeSpec, Limits
from mlgym.sandbox import choose
from mlgym.sandbox.images import base
from mlgym.store import method
from mlgym.task import Task, load_task

LOCK = "protocol.lock"
WORDS = {  # what a key of a task's part is called in a sentence
    "content": "instruction or starting files",
    "data.made_by": "code or settings that make and grade the data",
    "data.sources": "sources of the data",
    "data.stands_in": "data that stands in",
    "data.answers": "answers of the unchecked data",
    "limits.steps": "steps of an episode",
    "limits.seconds": "seconds of all commands",
    "limits.command_s": "seconds of a command",
    "limits.training_s": "seconds of a command that starts Python",
    "limits.money": "dollars of an episode",
    "limits.tokens": "tokens of an episode",
    "limits.grade_s": "seconds of a grading",
    "limits.call_s": "seconds of a call of the submission",
    "limits.memory_mb": "megabytes of memory",
    "gpus.count": "graphics cards",
    "gpus.gpu_memory": "gigabytes of a graphics card",
    "gpus.cards": "kinds of graphics cards",
    "tools.set": "set of tools",
    "tools.memory": "memory",
    "tools.papers": "papers",
    "tools.own": "sources of tools of your own",
    "tools.manual": "descriptions of the tools",
}
FROM_DATA = ("data.stands_in", "data.answers")  # what only prepared data tell
DIGESTS = ("content", "data.made_by", "data.answers", "tools.own", "tools.manual")


def lock(
    specs: Iterable[EpisodeSpec], *, limits: Mapping[str, Limits] | None = None, gpus: str = "", here: bool = True
) -> dict[str, Any]:
    """The two parts for these episodes as they would run now; `gpus` are the cards that may be used, and unless they
    run `here` the processors and cards are those that are asked for, whatever this machine has.

    `limits` are those of the tasks (by `spec.task`) before what a model without a price gets; else those of the specs.
    Raises UsageError for an agent that is not there, and where two episodes of a task differ in more than their method.
    """
    tasks: dict[str, dict[str, Any]] = {}
    ways: dict[str, dict[str, Any]] = {}
    made: dict[str, dict[str, Any]] = {}  # the parts of tasks, by all that they depend on
    loaded: dict[str, Task] = {}
    for spec in {(spec.task, method(spec)): spec for spec in specs}.values():  # one of its seeds
        task = loaded.get(spec.task) or loaded.setdefault(spec.task, load_task(spec.task))
        bounds = (limits or {}).get(spec.task, spec.limits)
        given = spec.changed(agent="", model="", sampling={}, base_url="", seed=0, source="", limits=bounds)
        key = given.model_dump_json()
        entry = made.get(key) or made.setdefault(key, _hashed(_task(task, spec, bounds, gpus, here)))
        if tasks.setdefault(task.name, entry) != entry:
            raise UsageError(f"The episodes of {'; '.join(_differences(task.name, tasks[task.name], entry))}.")
        if (way := method(spec)) not in ways:
            ways[way] = _hashed(_method(spec, bounds))
    return _whole({}, tasks, ways)


def agree(a: Mapping[str, Any], b: Mapping[str, Any], but: Collection[str] = ()) -> list[str]:
    """What differs in the task protocols of two locks on the tasks that both have, a clause in words for each, such as
    "blotto: steps of an episode 50 against 30"; the keys `but` may differ.
    """
    one, other = (part.get("task_protocol", {}).get("tasks", {}) for part in (a, b))
    return [line for name in one if name in other for line in _differences(name, one[name], other[name], but)]


def read_lock(run: Path) -> dict[str, Any]:
    """The lock of a run; empty where there is none. Raises UsageError for one that cannot be read."""
    path = run / LOCK
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_bytes())
        if not all(isinstance(found[part]["hash"], str) for part in ("task_protocol", "method")):
            raise TypeError
        return dict(found)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UsageError(f"{path} cannot be read as a protocol: choose another folder with -o.") from error


def keep(run: Path, new: Mapping[str, Any], *, preset: str = "") -> list[str]:
    """Write the lock of a run, or add to the one that is there; returns notes on methods that have changed since.

    Raises UsageError, with what differs, where the run holds episodes of another task protocol, and StorageError where
    the folder cannot be written.
    """
    with guarded(run):
        run.mkdir(parents=True, exist_ok=True)
        held = (run / ".lock").open("w")
    with held:
        fcntl.flock(held, fcntl.LOCK_EX)
        old = read_lock(run)
        refuse(run, old, new)
        before, now = (part.get("method", {}).get("methods", {}) for part in (old, new))
        tasks = {**old.get("task_protocol", {}).get("tasks", {}), **new["task_protocol"]["tasks"]}
        told = {"preset": preset} if preset and (not old or old["task_protocol"].get("preset") == preset) else {}
        whole = _whole(told, tasks, {**before, **now})
        if whole != old:
            write_whole(run / LOCK, json.dumps(whole, indent=1, sort_keys=True).encode())
    changed = [name for name in now if name in before and before[name] != now[name]]
    return [
        f"{name} is not what it was when {run} was begun ({', '.join(_keys(before[name], now[name]))}): its episodes "
        "from here on differ from those that are there."
        for name in changed
    ]


def refuse(run: Path, old: Mapping[str, Any], new: Mapping[str, Any], but: Collection[str] = ()) -> None:
    """Raise UsageError where a run's lock has another task protocol; the keys `but` may differ."""
    if differs := agree(old, new, but):
        most = "; ".join(differs[:4]) + ("; …" if len(differs) > 4 else "")
        raise UsageError(
            f"{run} holds episodes of another task protocol ({most}): choose another folder with -o, or repeat the "
            "command that made it."
        )


def isolated(name: str, sandbox: str) -> None:
    """Raise UsageError where a protocol asks for an isolation that the sandbox does not give."""
    wanted = presets.preset(name).isolation if name else ""
    found = _isolation(sandbox)[0]
    if wanted and found != wanted:
        raise UsageError(f"The protocol {name} asks for {wanted} isolation, and here is {found}: see 'mlgym doctor'.")


def _task(task: Task, spec: EpisodeSpec, limits: Limits, gpus: str, here: bool) -> dict[str, Any]:
    isolation, python = _isolation(spec.sandbox)
    isolation = "none" if spec.unsafe else isolation
    found = ready(task, spec.python)
    stands_in = found.data if found else task.data
    own = own_python(Path(spec.python), task.packages, task.workspace).about if spec.python else ""
    bounds = task.limits
    return {
        "version": task.version,
        "metric": task.metric,
        "direction": task.direction,
        "scale": task.anchors.scale if task.anchors else "",
        "best": task.anchors.best if task.anchors else None,
        "baseline": dict(task.anchors.baseline) if task.anchors else {},
        "content": _content(task),
        "data": {
            "made_by": grader_version(task),
            "sources": {source.name: source.sha256 or source.md5 or source.url for source in task.sources},
            "stands_in": stands_in,
            "answers": found.data_version if found and stands_in == UNCHECKED else "",
        },
        "limits": {
            **limits.model_dump(),
            "memory_mb": bounds.memory_mb,
            "grade_s": bounds.grade_s,
            "call_s": bounds.call_s,
        },
        "feedback": spec.feedback,
        "tools": _tools(spec),
        "isolation": isolation,
        "network": None if spec.network is None else list(spec.network),
        **_machine(task, spec, gpus, here),
        "packages": {
            "python": own or python,
            "inside": [] if own else sorted(task.packages),
            "grader": sorted(task.grader_packages),
        },
    }


def _tools(spec: EpisodeSpec) -> dict[str, Any]:
    """The tools of an episode, and what they use; what is not used does not stand there."""
    found = tools.toolset(spec.tools, memory=bool(spec.memory), papers=bool(spec.papers)).values()
    schemas = [tools.schema(tool) for tool in found]
    own = [inspect.getsource(tool) for tool in found if not tool.__module__.startswith("mlgym.")]
    used = {
        "memory": spec.memory and ("run" if spec.memory == RUN else "shared"),
        "papers": sorted(Path(each.strip()).name for each in spec.papers.split(",") if each.strip()),
        "own": own and digest(own),
    }
    return {
        "set": spec.tools,
        "names": [schema["function"]["name"] for schema in schemas],
        "manual": digest(schemas),
        **{key: value for key, value in used.items() if value},
    }


def _machine(task: Task, spec: EpisodeSpec, gpus: str, here: bool) -> dict[str, Any]:
    """Processors and cards of an episode: no more processors than there are, and the kinds of cards it may get."""
    bounds = task.limits
    processors = spec.processors or bounds.processors
    count = max(bounds.gpus, 1 if gpus and gpus != "none" else 0)
    named = gpus.split(",") if gpus not in ("", "none", "all") else None
    found = [card.name for card in (cards() if here and count else []) if named is None or str(card.index) in named]
    return {
        "processors": min(processors, float(len(usable()))) if here else processors,
        "gpus": {"count": count, "gpu_memory": bounds.gpu_memory, "cards": sorted(set(found))},
    }


def _content(task: Task) -> str:
    """A hash of what the agent finds and is told, and of what it must hand in."""
    paths = (path for path in sorted(task.workspace.rglob("*")) if path.is_file() and "__pycache__" not in path.parts)
    files = {
        path.relative_to(task.workspace).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths
    }
    told = [task.title, task.told, task.metric, task.direction, task.without]
    return digest([told, task.submission.model_dump(), task.baseline.model_dump(), files])


def _isolation(sandbox: str) -> tuple[str, str]:
    """What a sandbox isolates, and the Python in it."""
    mine = ".".join(platform.python_version_tuple()[:2])
    try:
        backend = choose(sandbox)
    except SandboxError:  # shipped agents go on without
        return "none", mine
    return backend.isolation, mine if backend.system == "host" else base()


def _method(spec: EpisodeSpec, limits: Limits) -> dict[str, Any]:
    added = {key: value for key, value in spec.limits.model_dump().items() if getattr(limits, key) != value}
    about = agents.about(spec.agent)
    protocol = str(about["options"].get("protocol", "")) if spec.model else ""
    return {
        **about,
        "model": spec.model,
        "sampling": spec.sampling,
        "base_url": spec.base_url,
        "tool_protocol": protocol,
        "bounds": added,
        "source": spec.source,
        **({"packages": sorted(spec.packages)} if spec.packages else {}),
    }


def _whole(more: Mapping[str, Any], tasks: Mapping[str, Any], ways: Mapping[str, Any]) -> dict[str, Any]:
    hashes = ({name: part["hash"] for name, part in parts.items()} for parts in (tasks, ways))
    first, second = (digest(each) for each in hashes)
    return {
        "task_protocol": {"hash": first, **more, "tasks": dict(tasks)},
        "method": {"hash": second, "methods": dict(ways)},
    }


def _hashed(part: dict[str, Any]) -> dict[str, Any]:
    plain = json.loads(json.dumps(part, default=str))
    return {"hash": digest(plain), **plain}


def digest(value: Any) -> str:
    """The first 16 hex digits of the sha256 of a value's JSON with sorted keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _differences(
    task: str, one: Mapping[str, Any], other: Mapping[str, Any], but: Collection[str] = ()
) -> Iterator[str]:
    """What differs in two parts of the same task, in words, the keys `but` aside."""
    if one.get("hash") == other.get("hash"):
        return
    for key in _keys(one, other):
        if key in but or key == "tools.names":  # their descriptions differ too
            continue
        words = WORDS.get(key, key.replace(".", " ").replace("_", " "))
        if key in DIGESTS:
            yield f"{task}: the {words} differ"
        else:
            a, b = (_flat(part).get(key) for part in (one, other))
            yield f"{task}: {words} {_said(a)} against {_said(b)}"


def _keys(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The keys whose values differ, with those of inner tables in dots."""
    a, b = _flat(one), _flat(other)
    return [key for key in sorted({*a, *b}) if key != "hash" and a.get(key) != b.get(key)]


def _flat(part: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in part.items():
        inner = isinstance(value, Mapping) and prefix + key != "data.sources"
        found |= _flat(value, f"{prefix}{key}.") if inner else {prefix + key: value}
    return found


def _said(value: Any) -> str:
    if value is None or value in ("", [], {}):
        return "none"
    text = f"{value:g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
