"""Agents that are programs: any that speaks OpenAI's interface, in a sandbox of its own, and clients of MCP.

An agent `command LINE` is a command line. Where its first word is a path of the user's, it is a program: a file, or a
folder with an executable `run`, shown in the sandbox at /opt/agent. The program reaches nothing but the
episode's model and the task's tools, both at one address that the host serves; its files are not the task's.
"""

import contextlib
import json
import math
import os
import re
import secrets
import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mlgym.agents import Agent, Flow, own_program
from mlgym.cache import cache_dir
from mlgym.environments import environment
from mlgym.errors import UsageError
from mlgym.models import Model
from mlgym.names import MCP, split
from mlgym.outside.brief import HOW, told
from mlgym.outside.chat import Talk
from mlgym.outside.client import Client
from mlgym.outside.desk import Desk
from mlgym.outside.flow import served
from mlgym.outside.http import Service
from mlgym.outside.program import HERE, Log, Program
from mlgym.pip import MANIFEST
from mlgym.records import Brief, EpisodeSpec
from mlgym.sandbox import Bind, Sandbox, SandboxLimits, SandboxSpec, choose, scratch
from mlgym.sandbox.served import Served
from mlgym.sandbox.shell import PROXY_PORT

OWN, TASK = "/opt/agent", "/opt/task"  # inside: the user's program, and the folder of the command `task`
LIMITS = SandboxLimits(memory_mb=4096, disk_mb=4096, file_mb=1024)
SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
QUIET_S = 600.0  # seconds at least that a program may ask for nothing


def ready(spec: EpisodeSpec) -> None:
    """Raise UsageError where the program of a spec could not be started."""
    line, place = _named(spec)
    if not line:
        raise UsageError("An agent `command …` needs a command line.")
    if place and not (os.access(place / "run", os.X_OK) if place.is_dir() else place.is_file()):
        raise UsageError(f"{place} is no program: name a file, or a folder with an executable `run`.")
    if not spec.unsafe and choose(spec.sandbox).isolation != "full":
        raise UsageError(
            f"The sandbox '{choose(spec.sandbox).name}' has no network of its own to hold a program that is the agent: "
            "take bubblewrap, docker or podman, or run it unprotected with --unsafe."
        )


def agent(
    spec: EpisodeSpec, log: Path, processors: tuple[int, ...], note: Callable[[str], None], check: Callable[[], None]
) -> Agent:
    """The agent of a spec; what its program prints goes to the file `log`. The agent `mcp` is whoever speaks to this
    process by MCP.

    `note` is told what the result should say, `check` called while nothing is asked for: what it raises ends the flow.
    Raises UsageError for a program that is not there, SourceError where its packages cannot be had.
    """
    if spec.agent == MCP:
        return partial(_client, check=check)
    ready(spec)
    python = environment(spec.packages, whole=False)
    return partial(_flow, spec=spec, python=python, log=log, processors=processors, note=note, check=check)


def _client(brief: Brief, model: Model | None, *, check: Callable[[], None]) -> Flow:
    desk = Desk(brief.tools, "")
    with contextlib.ExitStack() as held:
        client = Client(desk, sys.stdin.buffer, sys.stdout.buffer)
        held.callback(desk.close)
        yield from served(desk, None, client, Talk(), check, math.inf)


def _flow(
    brief: Brief,
    model: Model | None,
    *,
    spec: EpisodeSpec,
    python: Path,
    log: Path,
    processors: tuple[int, ...],
    note: Callable[[str], None],
    check: Callable[[], None],
) -> Flow:
    desk = Desk(brief.tools, spec.model.rpartition("/")[2])
    talk, quiet_s = Talk(), max(QUIET_S, brief.limits.command_s)
    with contextlib.ExitStack() as held:
        place = held.enter_context(scratch(cache_dir() / "scratch"))
        start = _free if spec.unsafe else partial(_confined, choose(spec.sandbox), processors)
        kept = Log(log)
        held.callback(kept.close)
        if spec.packages:
            kept.write(f"Packages: {' '.join(json.loads((python / MANIFEST).read_bytes()))}\n".encode())
        running = held.enter_context(start(spec, brief, desk, python, place, kept, held))
        held.callback(desk.close)
        held.callback(_ignored, talk, note)
        yield from served(desk, model, running, talk, check, quiet_s)
        return f"The program ended {running.end}; what it printed is in {log.name}."


def _ignored(talk: Talk, note: Callable[[str], None]) -> None:
    if talk.ignored:
        note(f"The program's settings of the model were not passed on ({', '.join(talk.ignored)}): -M sets them.")


def _named(spec: EpisodeSpec) -> tuple[str, Path | None]:
    """The command line, and the user's own program that it begins with, if it does."""
    line = str(split(spec.agent)[1].get("line", "")).strip()
    return line, own_program(line)


def _confined(
    backend: type[Sandbox],
    processors: tuple[int, ...],
    spec: EpisodeSpec,
    brief: Brief,
    desk: Desk,
    python: Path,
    place: Path,
    log: Log,
    held: contextlib.ExitStack,
) -> Program:
    """The program in a sandbox of its own."""
    server = held.enter_context(Served(place / "socket", Service(desk).answer))
    folder = place / "workspace"
    folder.mkdir()
    line, own = _named(spec)
    url = f"http://127.0.0.1:{PROXY_PORT}"
    given = _variables(brief, desk, url, "none") | {"NO_PROXY": "*", "no_proxy": "*"}
    given["PATH"] = f"{TASK}:/opt/env/bin:/usr/local/bin:/usr/bin:/bin"
    binds = [Bind(place / "task", TASK)]
    if own:
        at = OWN if own.is_dir() else f"{OWN}/{own.name}"
        binds.append(Bind(own.resolve(), at))
        line = shlex.quote(at + "/run" * own.is_dir()) + line.removeprefix(line.split()[0])
    sandbox = backend(
        SandboxSpec(folder, python, tuple(binds), given, LIMITS, processors=processors, proxy=server.path)
    )
    _lay(place, folder, brief, sandbox.interpreter)
    return Program.confined(sandbox, line, server, log, desk.leave)


def _free(
    spec: EpisodeSpec, brief: Brief, desk: Desk, python: Path, place: Path, log: Log, held: contextlib.ExitStack
) -> Program:
    """The program on this machine, with the user's variables but for what looks like a key."""
    key = secrets.token_hex(16)
    server = held.enter_context(Served(place / "socket", Service(desk, key).answer))
    line, own = _named(spec)
    folder = place / "workspace"
    folder.mkdir()
    _lay(place, folder, brief, sys.executable)
    given = {name: value for name, value in os.environ.items() if not SECRET.search(name)}
    given |= _variables(brief, desk, f"http://127.0.0.1:{server.listen()}", key)
    given["PATH"] = f"{place / 'task'}:{python / 'bin'}:{given.get('PATH', '/usr/bin:/bin')}"
    if own:
        line = shlex.quote(str(own.resolve()) + "/run" * own.is_dir()) + line.removeprefix(line.split()[0])
    return Program.free(line, folder, given, log, desk.leave)


def _variables(brief: Brief, desk: Desk, url: str, key: str) -> dict[str, str]:
    """What a program finds in its environment."""
    return {
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_BASE": f"{url}/v1",
        "OPENAI_API_KEY": key,
        "MLGYM_URL": url,
        "MLGYM_MODEL": desk.model,
        "MLGYM_TASK": told(brief),
        "MLGYM_HOW": HOW,
        "MLGYM_SEED": str(brief.seed),
    }


def _lay(place: Path, folder: Path, brief: Brief, interpreter: str) -> None:
    """Write the command `task`, and the brief into the program's folder."""
    (folder / "task.md").write_text(f"{told(brief)}\n{HOW}")
    (place / "task").mkdir()
    script = place / "task" / "task"
    script.write_text(f"#!{interpreter} -IS\n{(HERE / 'inside_task.py').read_text()}")
    for path in (folder, place / "task", script):
        path.chmod(0o755)
