"""The host's end of a sandbox: its records, its errors, and drivers that lie to it."""

import contextlib
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from mlgym.errors import SandboxError
from mlgym.sandbox import Ran, SandboxLimits, SandboxSpec, Shell, open_shell
from mlgym.sandbox.local import Local
from mlgym.sandbox.shell import spell


@pytest.fixture
def shell(backend: str, tmp_path: Path) -> Iterator[Shell]:
    with open_shell(
        backend, SandboxSpec(tmp_path, limits=SandboxLimits(output_kept=1000, output_max=50_000))
    ) as opened:
        yield opened


def test_a_command(shell: Shell) -> None:
    ran = shell.run("echo a; echo b >&2; exit_code() { return 3; }; exit_code", 5)
    assert ran == Ran("a\nb\n", 3, "ok", shell.workspace, ran.seconds)
    assert 0 < ran.seconds < 5


def test_the_cut_is_said_at_whole_characters(shell: Shell) -> None:
    ran = shell.run("printf 'ä%.0s' $(seq 10000)", 5)
    head, _, rest = ran.output.partition("\n[... ")
    note, _, tail = rest.partition(" ...]\n")
    assert ran.cut
    assert set(head) == set(tail) == {"ä"}
    assert note.startswith("19000 bytes left out; the whole is in ")
    assert shell.read(note.rpartition(" ")[2]) == ("ä" * 10000).encode()


def test_a_cut_without_a_file_says_none() -> None:
    header = {"head": 2, "cut": 5, "whole": "", "verdict": "ok"}
    assert spell(b"abcd", header) == "ab\n[... 5 bytes left out ...]\ncd"


def test_a_flood_is_stopped_and_says_so(shell: Shell) -> None:
    ran = shell.run("yes; echo went on", 20)
    assert ran.output.endswith("[stopped: it printed more than is allowed]\n")
    assert len(ran.output) < 1300
    assert ran.seconds < 10


def test_old_outputs_are_thrown_away(shell: Shell) -> None:
    for _ in range(40):
        shell.run("seq 2000", 5)
    files = [entry for entry in shell.list(shell.sandbox.outputs) if entry.kind == "file"]
    assert len(files) == 32


def test_odd_commands(shell: Shell) -> None:
    assert shell.run("", 5).output == ""
    assert shell.run("echo a\0b", 5).output == "ab\n"
    assert shell.run("echo '\ud83d'", 5).output == "?\n"
    assert shell.run("#" + "x" * 300_000 + "\necho end", 5).output == "end\n"


def test_a_stopped_shell_says_so(shell: Shell) -> None:
    shell.stop()
    shell.stop()
    for act in (lambda: shell.run("true", 1), lambda: shell.read("f"), lambda: shell.pack(["f"], 1, 1)):
        with pytest.raises(SandboxError, match="not running"):
            act()


def test_it_can_be_started_again(shell: Shell) -> None:
    shell.run("x=1; touch kept", 5)
    shell.stop()
    shell.start()
    assert shell.run("ls; echo $x", 5).output == "kept\n\n"


def test_a_killed_sandbox_says_so(shell: Shell) -> None:
    assert shell._process
    threading.Timer(0.3, shell._process.kill).start()
    with pytest.raises(SandboxError, match="ended by itself"):
        shell.run("sleep 60", 60)
    with pytest.raises(SandboxError, match="not running"):
        shell.run("true", 5)


def test_an_interrupted_call_leaves_the_shell_usable(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Shell._await
    calls = iter([True])

    def interrupted(self: Shell, fd: int, events: int, end: float) -> None:
        if next(calls, False):
            raise KeyboardInterrupt
        real(self, fd, events, end)

    monkeypatch.setattr(Shell, "_await", interrupted)
    with pytest.raises(KeyboardInterrupt):
        shell.run("sleep 0.2; echo late", 5)
    assert shell.run("echo next", 5).output == "next\n"


def test_threads_take_turns(shell: Shell) -> None:
    outputs: dict[int, str] = {}

    def drive(n: int) -> None:
        outputs[n] = shell.run(f"echo {n}", 10).output

    threads = [threading.Thread(target=drive, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outputs == {n: f"{n}\n" for n in range(16)}


def test_many_at_once(backend: str, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        shells = []
        for n in range(30):
            (tmp_path / str(n)).mkdir()
            shells.append(stack.enter_context(open_shell(backend, SandboxSpec(tmp_path / str(n)))))
        assert [shell.run(f"echo {n}", 20).output for n, shell in enumerate(shells)] == [f"{n}\n" for n in range(30)]


def test_a_forked_child_can_open_shells_too(backend: str, tmp_path: Path) -> None:
    code = f"""
import os, pathlib, sys
from mlgym.sandbox import SandboxSpec, open_shell
def use(name):
    folder = pathlib.Path({str(tmp_path)!r}, name)
    folder.mkdir()
    with open_shell({backend!r}, SandboxSpec(folder)) as shell:
        return shell.run("echo " + name, 10).output
assert use("parent") == "parent\\n"
child = os.fork()
if not child:
    os._exit(0 if use("child") == "child\\n" else 1)
assert os.waitpid(child, 0)[1] == 0
assert use("again") == "again\\n"
"""
    import mlgym

    environment = {
        "PYTHONPATH": ":".join([str(Path(mlgym.__file__).parent.parent), *sys.path]),
        "PATH": "/usr/bin:/bin",
    }
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_it_is_quick(shell: Shell) -> None:
    """A loose bound against accidental sleeps; the benchmarks have the figures."""
    seconds = [shell.run("true", 5).seconds for _ in range(50)]
    assert statistics.median(seconds) < 0.02


class Liar(Local):
    """A sandbox whose driver is this program instead."""

    program = ""

    def wrap(self, argv: Sequence[str]) -> list[str]:
        return [sys.executable, "-I", "-c", self.program]


READ = "import os, sys, time\nos.read(0, 1 << 20)\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("import sys; sys.stderr.write('no such thing'); sys.exit(3)", r"ended by itself \(code 3\): no such thing"),
        (READ + "os.write(1, b'\\xff' * 8)\ntime.sleep(60)", "more than was asked for"),
        (READ + "os.write(1, bytes(4) + b'\\x7f' * 4)\ntime.sleep(60)", "more than was asked for"),
        (READ + "os.write(1, b'\\0\\0\\0\\2' + bytes(4) + b'[[')\ntime.sleep(60)", "nonsense"),
        (READ + "os.write(1, b'\\0\\0\\0\\2' + bytes(4) + b'[3')\ntime.sleep(60)", "nonsense"),
        (READ + "os.write(1, b'\\0\\0\\0\\1' + bytes(4) + b'3')\ntime.sleep(60)", "nonsense"),
        (READ + "os.write(1, b'\\0\\0')", "ended by itself"),
    ],
)
def test_a_driver_that_lies(program: str, why: str, tmp_path: Path) -> None:
    backend = type("Told", (Liar,), {"program": program})
    started = time.monotonic()
    with pytest.raises(SandboxError, match=why):
        open_shell(backend, SandboxSpec(tmp_path)).start()
    assert time.monotonic() - started < 30


def test_a_driver_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlgym.sandbox.shell.START", 0.3)
    backend = type("Mute", (Liar,), {"program": "import time; time.sleep(60)"})
    with pytest.raises(SandboxError, match="did not answer in time"):
        open_shell(backend, SandboxSpec(tmp_path)).start()


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    backend = type("Missing", (Local,), {"wrap": lambda self, argv: ["/no/such/program"]})
    with pytest.raises(SandboxError, match="cannot be started"):
        open_shell(backend, SandboxSpec(tmp_path)).start()
