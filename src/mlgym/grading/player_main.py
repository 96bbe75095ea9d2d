"""The player: runs the submission's code for the grader, batch by batch. Standard library only: it is sent inside.

It has no answers and no say in the verdict: whatever the submission does in here, it can change only its own moves.
A request is `load` (import a module of the submission, or none), `define` (run a text of the grader's as a module whose
functions are called from then on), `each` (call a function once for every item of an array), `numbers` (call it once
with an array as a list), `batch` (call it once with numpy arrays) or `cpu` (answer, to show that all is still there);
the answer is `reply` with arrays or `error` with one sentence.
Argument: the folder of the submission, where its code runs.
"""

import array
import importlib
import math
import os
import random
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any, BinaryIO

from mlgym.grading.frames import Array, from_npy, read_frame, to_npy, write_frame

REQUEST_BYTES = 1 << 30


def take_descriptors() -> tuple[BinaryIO, BinaryIO]:
    """Move the pipes from descriptors 0 and 1 to two others; what the submission prints goes nowhere."""
    requests, replies = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nowhere, fd)
    os.close(nowhere)
    return os.fdopen(requests, "rb"), os.fdopen(replies, "wb", buffering=0)


def load(name: str, seed: int) -> ModuleType:
    """Import a module from the folder of the submission, which comes first on the path, its randomness seeded.

    Without a name nothing of the submission is imported, nor can be.
    """
    if not name:
        return ModuleType("nothing")
    sys.path.insert(0, sys.argv[1])
    random.seed(seed)
    module = importlib.import_module(name)
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed % 2**32)
    return module


def define(name: str, source: str) -> ModuleType:
    """Run a text as the module of that name, which the submission's modules can import too."""
    module = sys.modules[name] = ModuleType(name)
    exec(compile(source, f"<{name}>", "exec"), module.__dict__)
    return module


CODES = {"|b1": "?", "|i1": "b", "|u1": "B", "<i2": "h", "<i4": "i", "<i8": "q", "<f4": "f", "<f8": "d"}


def lists(item: Array) -> Iterator[list[Any]]:
    """A fresh list for each item along the first axis: numbers, or tuples (of tuples …) of them."""
    flat: memoryview[Any] = memoryview(item.data).cast(CODES[item.descr])  # type: ignore[call-overload]
    size = math.prod(item.shape[1:])
    for start in range(0, item.shape[0] * size, size) if size else [0] * item.shape[0]:
        values: Iterator[Any] = iter(flat[start : start + size])
        for axis in reversed(item.shape[2:]):
            values = zip(*[values] * axis, strict=True)
        yield list(values)


def each(function: Callable[[list[Any]], Any], item: Array, width: int) -> Array:
    """Call the function with every item as a list; answers must be whole numbers, `width` of them (0: just one)."""
    moves = array.array("q")
    for count, values in enumerate(lists(item), 1):
        answer = function(values)
        try:
            moves.extend(answer) if width else moves.append(answer)
        except (TypeError, OverflowError):
            moves = array.array("q")
        if len(moves) != count * (width or 1):
            wanted = f"a sequence of {width} whole numbers" if width else "a whole number"
            raise ValueError(f"the function returned {repr(answer)[:80]} where {wanted} must be")
    return Array("<i8", (item.shape[0], width) if width else (item.shape[0],), moves.tobytes())


def numbers(function: Callable[[list[Any]], Any], item: Array) -> Array:
    """Call the function once with the array as a list; it must return whole numbers, as many as it likes."""
    (values,) = lists(Array(item.descr, (1, *item.shape), item.data))
    answer = function(values)
    try:
        found = array.array("q", answer)
    except (TypeError, OverflowError):
        raise ValueError(f"the function returned {repr(answer)[:80]} where whole numbers must be") from None
    return Array("<i8", (len(found),), found.tobytes())


def batch(function: Callable[..., Any], items: Sequence[Array]) -> list[Array]:
    """Call the function once with all arrays as numpy arrays; it returns one array or a tuple of them."""
    numpy = importlib.import_module("numpy")
    answer = function(*(numpy.frombuffer(a.data, a.descr).reshape(a.shape) for a in items))
    found = [numpy.ascontiguousarray(a) for a in (answer if isinstance(answer, tuple) else (answer,))]
    return [Array(a.dtype.str, a.shape, a.tobytes()) for a in found]


def call(function: Callable[..., Any], header: dict[str, Any], items: Sequence[Array]) -> list[Array]:
    """Call a function as the request says."""
    if header["op"] == "each":
        return [each(function, items[0], header["width"])]
    if header["op"] == "numbers":
        return [numbers(function, items[0])]
    return batch(function, items)


def one_sentence(error: BaseException) -> str:
    """Where in the submission the error arose, and its last line."""
    try:
        place, home = "", sys.argv[1] + "/"
        for frame in traceback.extract_tb(error.__traceback__):
            if frame.filename.startswith(home):
                place = f"{frame.filename.removeprefix(home)} line {frame.lineno}: "
        return place + traceback.format_exception_only(error)[-1].strip()
    except BaseException:  # the submission's own exception class may fail while it is printed
        return "an error that cannot be printed"


def main() -> None:
    """Answer requests until the pipe closes."""
    requests, replies = take_descriptors()
    os.chdir(sys.argv[1])
    replies.write(write_frame({"op": "ready"}))
    module: ModuleType | None = None
    while True:
        try:
            header, blobs = read_frame(requests, REQUEST_BYTES)
        except EOFError:
            return
        try:
            items = [from_npy(blob) for blob in blobs]
            answer: list[Array] = []
            if header["op"] == "load":
                module = load(header["module"], header["seed"])
            elif header["op"] == "define":
                module = define(header["module"], header["source"])
            elif header["op"] != "cpu":
                answer = call(getattr(module, header["function"]), header, items)
            reply = write_frame({"op": "reply"}, [to_npy(item) for item in answer])
        except BaseException as error:  # SystemExit and KeyboardInterrupt too: the submission raised them
            reply = write_frame({"op": "error", "why": one_sentence(error)[:500]})
        while reply:
            reply = reply[replies.write(reply) :]


if __name__ == "__main__":
    main()
