"""The pipe between host and driver: frames of any form at either end."""

import json
import marshal
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from fuzz import fuzz
from hypothesis import strategies as st

from mlgym.errors import SandboxError
from mlgym.sandbox import SandboxSpec, SubmissionRefused, open_shell
from mlgym.sandbox.local import Local
from mlgym.watch import CHOICE

TICKET = "TICKET_16_LETTER"  # as long as a real one, which takes its place


class Tape(Local):
    """A sandbox whose driver is a tape: it answers the start properly or not, then these bytes."""

    first, then = b"", b""
    program = """
import marshal, os, sys
def exactly(n):
    data = b""
    while len(data) < n:
        data += os.read(0, n - len(data)) or os._exit(0)
    return data
number = lambda: int.from_bytes(exactly(4), "big")
exactly(number())
head, body = number(), number()
ask = marshal.loads(exactly(head)); exactly(body)
os.write(1, FIRST.replace(b"TICKET_16_LETTER", ask["id"].encode()))
head, body = number(), number()
ask = marshal.loads(exactly(head)); exactly(body)
os.write(1, THEN.replace(b"TICKET_16_LETTER", ask["id"].encode()))
"""

    def wrap(self, argv: Sequence[str]) -> list[str]:
        program = f"FIRST, THEN = {self.first!r}, {self.then!r}\n{self.program}"
        return [sys.executable, "-I", "-S", "-c", program]


def frame(header: object, body: bytes) -> bytes:
    """A frame to the host with any header."""
    head = json.dumps(header).encode()
    return len(head).to_bytes(4, "big") + len(body).to_bytes(4, "big") + head + body


GOOD = {"id": TICKET, "verdict": "ok", "restarted": False, "code": 0, "cwd": "/", "cut": 0, "head": 0, "whole": ""}
VALUE = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | st.just([])
HEADER = st.dictionaries(st.sampled_from([*GOOD, "more", "errno", "error", "refused"]), VALUE, max_size=4)
ANSWER = (
    st.builds(lambda h, b: frame({**GOOD, **h}, b), HEADER, st.binary(max_size=20))
    | st.builds(lambda h, b: frame({**h, "id": TICKET}, b), HEADER, st.binary(max_size=20))
    | st.builds(frame, HEADER | VALUE, st.binary(max_size=20))
    | st.binary(max_size=20)
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for sandboxes, on a host of little patience: what never comes is not waited for."""
    for name, seconds in {"START": 2.0, "SLACK": 0.3, "PATIENCE": 0.5, "DISTRUST": 0.1}.items():
        monkeypatch.setattr(f"mlgym.sandbox.shell.{name}", seconds)
    return tmp_path


@fuzz(12, good=st.booleans(), first=ANSWER, then=st.lists(ANSWER, max_size=3).map(b"".join))
def test_a_driver_may_answer_anything(place: Path, good: bool, first: bytes, then: bytes) -> None:
    """The host gets what it asked for, an OSError that the driver tells, or a SandboxError; never a hang."""
    start = frame({"id": TICKET, "cwd": "/"}, b"") if good else first
    backend = type("Told", (Tape,), {"first": start, "then": then})
    began = time.monotonic()
    try:
        with open_shell(backend, SandboxSpec(place)) as shell:
            ran = shell.run("true", 0.2)
            assert isinstance(ran.output, str) and (ran.code is None or type(ran.code) is int)
    except (SandboxError, OSError) as error:
        assert str(error)
    assert time.monotonic() - began < 15


TOLD = VALUE | st.lists(VALUE | st.tuples(VALUE | st.sampled_from(["a.py", "../a", "/a", "a\n"]), VALUE), max_size=3)


@fuzz(12, told=st.dictionaries(st.sampled_from(["files", "gone", "large", "whole", "errno"]), TOLD), body=st.binary())
def test_a_driver_may_tell_anything_of_a_look(place: Path, told: dict[str, object], body: bytes) -> None:
    """What comes of it are files of plain names, none of them longer than what was sent."""
    answer = frame({"files": [], "gone": [], "large": [], "whole": True, **told, "id": TICKET}, body)
    backend = type("Told", (Tape,), {"first": frame({"id": TICKET, "cwd": "/"}, b""), "then": answer})
    try:
        with open_shell(backend, SandboxSpec(place)) as shell:
            look = shell.look(0, 1, ["known.py"], {**CHOICE, "names": ()})
            assert all("/" not in name and name.isprintable() and name != ".." for name in look.files)
            assert {*look.gone, *look.large} <= {"known.py"} and len(look.files.get("a.py", b"")) <= len(body)
    except (SandboxError, OSError, SubmissionRefused) as error:
        assert str(error)


@fuzz(8, data=st.binary(max_size=60) | st.dictionaries(st.text(max_size=3), VALUE).map(lambda d: marshal.dumps(d, 2)))
def test_a_driver_is_sent_anything(place: Path, data: bytes) -> None:
    """Frames that no host sends end the sandbox at worst: no hang, nothing left half done."""
    with open_shell("auto", SandboxSpec(place)) as shell:
        assert shell._process and shell._process.stdin
        os.write(shell._process.stdin.fileno(), len(data).to_bytes(4, "big") + bytes(4) + data)
        try:
            assert shell.run("echo on", 0.2).output == "on\n"
        except SandboxError as error:
            assert str(error)
