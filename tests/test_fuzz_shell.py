"""The shell in a real sandbox: random commands against an oracle, hostile ones against the walls."""

import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fuzz import fuzz
from hypothesis import strategies as st

from mlgym.sandbox import SandboxLimits, SandboxSpec, Shell, open_shell
from mlgym.sandbox.probe import probe

KEPT = 2000
TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=20)
NAME = st.sampled_from(["a", "b", "c_1"])


class Told(NamedTuple):
    """A command, and what a shell should answer; `output` None is anything, `replaced` a new shell."""

    command: str
    output: str | None = ""
    code: int = 0
    replaced: bool = False


@dataclass
class Oracle:
    """What a shell should answer, told without one: each method is a kind of command."""

    cwd: str
    variables: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    code: int = 0

    def say(self, text: str) -> Told:
        return Told(f"printf %s {shlex.quote(text)}", text)

    def long(self, size: int) -> Told:
        return Told(f"head -c {size} /dev/zero | tr '\\0' x", None if size > KEPT else "x" * size)

    def raw(self, data: list[int]) -> Told:
        octal = "".join(f"\\{byte:03o}" for byte in data)
        return Told(f"printf '{octal}'", bytes(data).decode(errors="replace"))

    def set(self, name: str, text: str) -> Told:
        self.variables[name] = text
        return Told(f"{name}={shlex.quote(text)}")

    def get(self, name: str) -> Told:
        return Told(f'printf %s "${name}"', self.variables.get(name, ""))

    def write(self, name: str, text: str) -> Told:
        self.files[f"{self.cwd}/{name}"] = text
        return Told(f"cat > {name} <<'E N D'\n{text}\nE N D")

    def read(self, name: str) -> Told:
        found = self.files.get(f"{self.cwd}/{name}")
        return Told(f"cat {name} 2>/dev/null", "" if found is None else found + "\n", int(found is None))

    def go(self, folder: str) -> Told:
        self.cwd += f"/{folder}"
        return Told(f"mkdir -p {folder} && cd {folder}")

    def fail(self, code: int) -> Told:
        return Told(f"(exit {code})", "", code)

    def last(self) -> Told:
        return Told("printf %s $?", str(self.code))

    def leave(self, code: int) -> Told:
        self.variables.clear()
        return Told(f"exit {code}", "", code, True)

    def listen(self) -> Told:
        return Told("cat; read x; printf %s $?", "1")

    def tear(self, open: str) -> Told:
        return Told(f"printf %s {open}'", None, 2)


def of(kind: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    """A kind of command with what it takes."""
    return st.tuples(st.just(kind), *arguments)


LINES = TEXT.filter(lambda text: "\r" not in text and "E N D" not in text)
COMMAND = st.one_of(
    of("say", TEXT),
    of("long", st.integers(0, 3 * KEPT)),
    of("raw", st.lists(st.integers(1, 255), max_size=12)),
    of("set", NAME, TEXT),
    of("get", NAME),
    of("write", NAME, LINES),
    of("read", NAME),
    of("go", st.sampled_from(["d", "e"])),
    of("fail", st.integers(0, 255)),
    of("last"),
    of("listen"),
    of("leave", st.integers(0, 255)),
    of("tear", st.sampled_from(["x", "$(", "{ ", ""])),
)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Shell]:
    """One sandbox for all examples; never `local`, where random commands would be the machine's own."""
    tried = probe("bubblewrap")
    if not tried.works:
        pytest.skip(f"random commands need walls: {tried.why}")
    limits = SandboxLimits(output_kept=KEPT, output_max=100_000, processes=64, memory_mb=1024)
    with open_shell(tried.name, SandboxSpec(tmp_path, limits=limits)) as shell:
        yield shell


@fuzz(25, steps=st.lists(COMMAND, min_size=1, max_size=8))
def test_a_shell_answers_as_the_oracle_says(place: Shell, steps: list[tuple[Any, ...]]) -> None:
    place.run("exit", 10)
    place.run(f"cd {place.workspace}; rm -rf -- *", 10)
    oracle = Oracle(place.workspace)
    for kind, *arguments in steps:
        told: Told = getattr(oracle, kind)(*arguments)
        ran = place.run(told.command, 10)
        assert (ran.status, ran.code, ran.cwd) == ("restarted" if told.replaced else "ok", told.code, oracle.cwd), told
        assert ran.output == told.output or told.output is None, told
        assert ran.cut == (kind == "long" and arguments[0] > KEPT)
        oracle.code = 0 if told.replaced else told.code


SHARDS = [
    *"'\"\\$`;&|<>(){}!#*?~\n \t",
    *("exit", "exec", "exec true", "set -e", "set -u", "set -x", "set -n", "trap '' INT TERM", "trap 'exit 3' EXIT"),
    *("kill -9 $$", "kill -STOP $$", "kill -9 -1", "kill -9 1", "kill -9 0", "pkill -9 bash", "true", "false", "wait"),
    *(
        "exec >/dev/null 2>&1",
        "exec 9>&-",
        "exec 8<&-",
        "exec 0<&-",
        "exec 9>/dev/null",
        "printf 'x 0\\n' >&9",
        "cat <&8",
    ),
    *("readonly PATH", "unset PATH", "PROMPT_COMMAND='exit 4'", "eval() { :; }", "alias eval=false", "enable -n eval"),
    *("shopt -s expand_aliases", "ulimit -n 3", "ulimit -u 1", "rm -rf $PWD", "cd /", "mkfifo f", "read x", "cat"),
    *(
        "sleep 100 &",
        "(sleep 0.01; echo late) &",
        "disown -a",
        "echo x",
        "yes",
        "case $- in",
        "IFS=x",
        "printf '\\0\\377'",
    ),
    *(
        "while :; do :; done",
        "bash -c 'kill -9 $PPID'",
        "coproc cat",
        "suspend",
        "command_not_found_handle() { exit; }",
    ),
    *(
        "declare -r __c=1",
        "BASH_ENV=/x",
        "TMOUT=1",
        "history -c",
        "fc",
        "logout",
        "builtin exit",
        "for",
        "done",
        "\x03\x04",
    ),
]
HOSTILE = st.lists(
    st.sampled_from(SHARDS) | TEXT | st.binary(max_size=6).map(lambda b: b.decode("latin-1")), max_size=6
)


@fuzz(25, shards=st.lists(HOSTILE.map(" ".join) | HOSTILE.map("; ".join), min_size=1, max_size=3))
def test_no_command_costs_the_sandbox(place: Shell, shards: list[str]) -> None:
    """Whatever was run, an answer comes in time, and the next command beside the shell is answered too."""
    for command in shards:
        began = time.monotonic()
        place.run(command, 0.3)
        assert time.monotonic() - began < 15, command
    assert place.exec(["/bin/echo", "alive"], timeout=10).output == "alive\n"
    place.exec(["/bin/sh", "-c", "kill -9 -1"], timeout=10)  # a shell can be spoilt by its own commands
    place.run("true", 10)  # tells of the end of the old shell, if that was not seen before
    ran = place.run("printf '%s' here", 10)
    assert ran.output == "here", (shards, ran)
