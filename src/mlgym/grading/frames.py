"""Frames between host, grader and player: one JSON line, then raw npy bytes. Standard library only: it is sent inside.

A frame is `{"op": …, "sizes": [n, …]}` in one line, followed by that many blobs of n bytes. Nothing here trusts the
other side: lines, blobs and arrays have caps and exact forms, and nothing is ever unpickled.
"""

import ast
import math
from collections.abc import Mapping, Sequence
from json import dumps, loads  # by name: a submission may replace what `json` holds
from typing import Any, NamedTuple, Protocol

MAX_LINE = 200_000
MAX_BLOBS = 64
DTYPES = {"|b1": 1, "|i1": 1, "|u1": 1, "<i2": 2, "<i4": 4, "<i8": 8, "<f4": 4, "<f8": 8}


class FrameError(Exception):
    """The other side sent what is no frame; the message is one sentence."""


class Stream(Protocol):
    """What a frame is read from: a binary file, or the host's pipe with its clock."""

    def readline(self, limit: int, /) -> bytes:
        """The bytes up to a line's end, at most `limit`; fewer at the end of the stream."""

    def read(self, size: int, /) -> bytes:
        """Exactly `size` bytes; fewer at the end of the stream."""


class Array(NamedTuple):
    """A numeric array as bytes in C order; `descr` is one of DTYPES."""

    descr: str
    shape: tuple[int, ...]
    data: bytes


def write_frame(header: Mapping[str, Any], blobs: Sequence[bytes] = ()) -> bytes:
    """The bytes of one frame."""
    line = dumps({**header, "sizes": [len(blob) for blob in blobs]}, separators=(",", ":"), allow_nan=False)
    return b"".join([line.encode(), b"\n", *blobs])


def read_frame(stream: Stream, max_bytes: int) -> tuple[dict[str, Any], list[bytes]]:
    """The next frame's header and blobs; raises EOFError at the stream's end and FrameError for anything else."""
    line = stream.readline(MAX_LINE)
    if not line.endswith(b"\n"):
        raise FrameError("The line of a frame is too long.") if len(line) >= MAX_LINE else EOFError()
    try:
        header = loads(line)
    except (ValueError, RecursionError) as error:
        raise FrameError("The line of a frame is not JSON.") from error
    sizes = header.pop("sizes", None) if isinstance(header, dict) else None
    if not isinstance(sizes, list) or len(sizes) > MAX_BLOBS or not isinstance(header.get("op"), str):
        raise FrameError("The line of a frame lacks its fields 'op' and 'sizes'.")
    if any(type(size) is not int or size < 0 for size in sizes) or sum(sizes) > max_bytes:
        raise FrameError(f"A frame is larger than its limit of {max_bytes} bytes.")
    blobs = [stream.read(size) for size in sizes]
    if any(len(blob) != size for blob, size in zip(blobs, sizes, strict=True)):
        raise EOFError
    return header, blobs


def to_npy(array: Array) -> bytes:
    """The array as the bytes of an npy file, version 1.0."""
    text = repr({"descr": array.descr, "fortran_order": False, "shape": array.shape})
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + array.data


def from_npy(blob: bytes) -> Array:
    """The array in an npy file of version 1.0; raises FrameError unless type, shape and length are exactly right."""
    start = 10 + int.from_bytes(blob[8:10], "little")
    if blob[:8] != b"\x93NUMPY\x01\x00" or start > len(blob) or start > 1000:
        raise FrameError("An array is not in the npy format, version 1.0.")
    try:
        header = ast.literal_eval(blob[10:start].decode("ascii").strip())
        descr, order, shape = header["descr"], header["fortran_order"], header["shape"]
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError) as error:
        raise FrameError("The header of an array cannot be read.") from error
    if not isinstance(descr, str) or descr not in DTYPES or order is not False or not _is_shape(shape):
        raise FrameError(f"An array must be numbers in C order of type {', '.join(DTYPES)}.")
    if math.prod(shape) * DTYPES[descr] != len(blob) - start:
        raise FrameError("An array's shape does not fit its bytes.")
    return Array(descr, shape, blob[start:])


def _is_shape(shape: object) -> bool:
    """Whether this is a tuple of at most 8 whole numbers, none negative."""
    return isinstance(shape, tuple) and len(shape) <= 8 and all(type(n) is int and n >= 0 for n in shape)
