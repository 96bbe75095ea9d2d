"""The player protocol: whatever bytes a player sends are arrays, a failure of the question asked, or no frame."""

import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from fuzz import fuzz
from hypothesis import strategies as st

from mlgym.grading.exchange import Exchange
from mlgym.grading.frames import Array, FrameError, from_npy, read_frame, to_npy, write_frame
from mlgym.grading.grader_main import Invalid, Player

MOST = 10_000
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["op", "sizes", "why", "x"]), inner),
    max_leaves=6,
)
OP = st.sampled_from(["reply", "error", "verdict", "ready", "ask", "broken", "failed", "", "cpu"]) | st.text(max_size=4)
ARRAY = st.builds(
    lambda kind, shape: to_npy(Array(kind, shape, bytes(int(np.prod(shape)) * np.dtype(kind).itemsize))),
    st.sampled_from(["<i8", "<f4", "<f8", "|b1"]),
    st.lists(st.integers(0, 4), max_size=3).map(tuple),
)
HONEST = st.builds(
    lambda op, why, blobs: write_frame({"op": op, "why": why, "valid": True, "scores": {"score": 99.0}}, blobs),
    OP,
    st.text(max_size=30),
    st.lists(ARRAY | st.binary(max_size=20), max_size=3),
)
ODD = st.builds(lambda header, rest: json.dumps(header).encode() + b"\n" + rest, JSON, st.binary(max_size=30))
TAPE = st.lists(HONEST | ODD | st.binary(max_size=80), max_size=5).map(b"".join)


@st.composite
def damaged(draw: st.DrawFn, of: st.SearchStrategy[bytes]) -> bytes:
    """Bytes with some of them changed."""
    data = bytearray(draw(of))
    for _ in range(draw(st.integers(0, 3)) if data else 0):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data)


class Tape:
    """A program whose answers are these bytes, read as the real one's are; at their end it has gone."""

    def __init__(self, data: bytes) -> None:
        self.stream, self.sent = io.BytesIO(data), list[tuple[dict[str, Any], list[bytes]]]()

    def send(self, header: dict[str, Any], blobs: Sequence[bytes], deadline: float) -> None:
        self.sent.append((dict(header), list(blobs)))

    def receive(self, max_bytes: int, deadline: float) -> tuple[dict[str, Any], list[bytes]]:
        return read_frame(self.stream, min(max_bytes, MOST))

    def cpu_s(self) -> float:
        return 0.0

    def hit(self) -> str:
        return ""

    def close(self) -> str:
        return ""


@pytest.fixture
def place() -> None:
    """Nothing is shared."""


@fuzz(120, data=damaged(TAPE))
def test_any_bytes_are_frames_or_none(place: None, data: bytes) -> None:
    stream = io.BytesIO(data)
    for _ in range(20):
        try:
            header, blobs = read_frame(stream, MOST)
        except EOFError:
            return
        except FrameError as error:
            assert str(error).endswith(".")
            return
        assert isinstance(header["op"], str) and sum(map(len, blobs)) <= MOST


@fuzz(120, blob=damaged(ARRAY) | st.binary(max_size=200))
def test_any_bytes_are_an_array_or_none(place: None, blob: bytes) -> None:
    try:
        array = from_npy(blob)
    except FrameError as error:
        assert str(error).endswith(".")
        return
    assert len(array.data) == int(np.prod(array.shape, dtype=object)) * np.dtype(array.descr).itemsize
    assert from_npy(to_npy(array)) == array


VERDICT = {"op": "verdict", "valid": False, "why": "", "scores": None}


@fuzz(80, data=damaged(TAPE), quiet=st.booleans())
def test_a_player_has_no_word_for_a_verdict(place: None, data: bytes, quiet: bool) -> None:
    """Whatever it sends reaches the grader as arrays or as the failure of the question asked."""
    asks = [{"op": "ask", "do": "load", "timed": False, "module": "s", "seed": 0}]
    asks += [{"op": "ask", "do": "each", "function": "f", "width": 0, "quiet": quiet}] * 3
    grader = Tape(b"".join(map(write_frame, [*asks, VERDICT])))
    player = Tape(write_frame({"op": "ready"}) + data)
    exchange = Exchange(lambda timed: player, 5.0, 5.0)  # type: ignore[arg-type,return-value]
    assert exchange.run(grader, {"op": "grade"}) == VERDICT  # type: ignore[arg-type]
    assert len(grader.sent) == 5
    for header, blobs in grader.sent[1:]:
        if header["op"] == "reply":
            assert set(header) == {"op", "cpu_s"}
        else:
            assert header["op"] == "failed" and not blobs and set(header) == {"op", "why"}
            assert header["why"].isprintable() and len(header["why"]) < 700


class Questions:
    """The grader's pipe to the host, whose answer is this."""

    def __init__(self, answer: tuple[dict[str, Any], list[bytes]]) -> None:
        self.answer = answer

    def write(self, header: dict[str, Any], blobs: Sequence[bytes] = ()) -> None:
        """A question."""

    def read(self) -> tuple[dict[str, Any], list[bytes]]:
        return self.answer


@fuzz(80, blobs=st.lists(damaged(ARRAY) | st.binary(max_size=60), max_size=3), rows=st.integers(0, 3))
def test_the_grader_takes_exactly_what_it_expects(place: None, blobs: list[bytes], rows: int) -> None:
    player = Player(Questions(({"op": "reply", "cpu_s": 0.0}, blobs)))  # type: ignore[arg-type]
    try:
        answer = player.each("f", np.zeros((rows, 2), np.uint8))
    except Invalid as error:
        assert "\n" not in str(error)
    else:
        assert (answer.descr, answer.shape, len(answer.data)) == ("<i8", (rows,), 8 * rows)
