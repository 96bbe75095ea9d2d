"""The command lines of container engines: how one is called, what it says of itself, its failures as one sentence."""

import json
import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from mlgym.errors import SandboxError

TITLES = {"docker": "Docker", "podman": "Podman"}
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
# What the engine's program reads; it stays outside: what runs inside gets variables of its own.
KEPT = re.compile(
    r"(DOCKER|CONTAINERS?|REGISTRY|XDG|DBUS|SSH|LC)_.*|HOME|PATH|TMPDIR|USER|(HTTPS?|NO)_PROXY", re.IGNORECASE
)
PATIENCE_S = 120.0


@dataclass(frozen=True)
class Engine:
    """What an engine that answers is: the `machine` as Linux names it; `rootless`: it runs without rights of root."""

    machine: str
    rootless: bool


def command(program: str, *arguments: str) -> list[str]:
    """The host's command line of a call, with the variables that the engine's program may read and no others."""
    kept = [f"{key}={value}" for key, value in os.environ.items() if KEPT.fullmatch(key)]
    return ["/usr/bin/env", "-i", *kept, program, *arguments]


def call(program: str, *arguments: str, seconds: float = PATIENCE_S) -> str:
    """What the engine's program prints; raises SandboxError with one sentence that says what to do."""
    try:
        ran = subprocess.run(
            command(program, *arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise SandboxError(f"{TITLES[program]} did not answer within {seconds:g} seconds: restart it.") from None
    if ran.returncode:
        raise SandboxError(failure(program, ran.stderr or ran.stdout))
    return ran.stdout


def failure(program: str, said: str) -> str:
    """A failure of the engine as one sentence."""
    title = TITLES[program]
    if re.search(rf"{program}\W*: No such file", said):
        return f"There is no program {program}: install {title} or choose another sandbox."
    if re.search(r"permission denied while trying to connect|dial unix [^ ]*: connect: permission denied", said):
        return (
            f"This user may not use {title}: add it to the group {program} and log in again, or choose another sandbox."
        )
    if re.search(r"Cannot connect to the Docker daemon|Is the docker daemon running|dial unix ", said):
        where = os.environ.get("DOCKER_HOST") or "its usual socket"
        return f"No Docker daemon answers at {where}: start Docker, set DOCKER_HOST or choose another sandbox."
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in said.splitlines() if line.strip()] or ["no word"]
    told = [line for line in lines if re.search("error", line, re.IGNORECASE) and "building at STEP" not in line]
    return f"{title} failed: {(told or lines)[-1].rstrip('.')}."


def engine(program: str) -> Engine:
    """The engine behind a program, asked once for each address; raises SandboxError where none answers."""
    return _asked(program, os.environ.get("DOCKER_HOST", ""), os.environ.get("CONTAINER_HOST", ""))


@cache
def _asked(program: str, *_addresses: str) -> Engine:
    if program == "podman":
        host = json.loads(call(program, "info", "--format", "json"))["host"]
        return Engine(MACHINES.get(host["arch"], host["arch"]), bool(host["security"]["rootless"]))
    call(program, "version", "--format", "{{.Server.Version}}")  # `info` fails less clearly
    said = call(program, "info", "--format", "{{.Architecture}} {{json .SecurityOptions}}")
    machine, _, options = said.partition(" ")
    return Engine(MACHINES.get(machine, machine), "name=rootless" in options)


def removed(program: str, names: Sequence[str]) -> None:
    """End containers and take them away; one that is gone already is no error."""
    if names:
        at_once = ["--time", "0"] if program == "podman" else []  # which would ask them to end and wait 10 s
        subprocess.run(
            command(program, "rm", "--force", "--volumes", *at_once, *names),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE_S,
        )
