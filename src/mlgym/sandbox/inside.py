"""The program inside a sandbox: pid 1 there. It keeps one bash and does what the host asks for over one pipe pair.

Standard library only; `shell.py` sends it in, after the other `inside_….py`, into one namespace. It is not dumpable
and deaf to SIGINT and SIGTERM: what runs beside it can neither end it nor open its pipes.

Frames: two lengths (4 bytes each, big-endian), a header, raw bytes. Headers to here are marshalled, from here JSON (of
which only the encoder is cheap to import); an answer carries its request's ticket.
"""

from __future__ import annotations

import ctypes
import marshal
import os
import sys
from _json import encode_basestring_ascii as quoted

TYPE_CHECKING = False  # the module `typing` costs 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from mlgym.sandbox.inside_files import Refused, list_folder, pack, read_file, unpack, write_file
    from mlgym.sandbox.inside_looks import Looks
    from mlgym.sandbox.inside_network import hand_out
    from mlgym.sandbox.inside_shell import Driver, Ended
    from mlgym.sandbox.inside_trees import load_trees, save_trees

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 1, 4, 36
SIGHUP = 1


class Channel:
    """The pipe pair to the host, taken from descriptors 0 and 1."""

    def __init__(self) -> None:
        self.requests, self.answers = os.dup(0), os.dup(1)
        null = os.open("/dev/null", os.O_RDWR)
        for fd in range(3):
            os.dup2(null, fd)

    def receive(self) -> tuple[dict[str, Any], bytes]:
        """The next request: header and body."""
        size, more = (int.from_bytes(self.exactly(4), "big") for _ in range(2))
        return marshal.loads(self.exactly(size)), self.exactly(more)

    def exactly(self, size: int) -> bytes:
        """So many bytes; raises Ended at the end of the pipe."""
        parts = []
        while size:
            part = os.read(self.requests, min(size, 1 << 20))
            if not part:
                raise Ended
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def send(self, header: dict[str, Any], body: bytes = b"") -> None:
        """One frame to the host."""
        head = text(header).encode()
        rest = memoryview(len(head).to_bytes(4, "big") + len(body).to_bytes(4, "big") + head + body)
        while rest:
            try:
                rest = rest[os.write(self.answers, rest) :]
            except BrokenPipeError:
                raise Ended from None


def text(value: Any) -> str:
    """The value as JSON."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{quoted(key)}:{text(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(text, value)) + "]"
    if isinstance(value, str):
        return str(quoted(value))
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)


class Inside:
    """The operations that the host may ask for; each answers with a header and a body."""

    def __init__(self, channel: Channel, score: int) -> None:
        config, _ = channel.receive()
        self.channel, self.home, self.workspace = channel, config["home"], config["workspace"]
        if config["proxy"]:
            self.proxy = hand_out(config["proxy"], config["port"])
        self.driver = Driver(config, channel.requests, score)
        self.looks = Looks(self.workspace)
        channel.send({"id": config["id"], "cwd": self.driver.cwd})

    def path(self, path: str) -> str:
        """The path with `~` and the shell's folder put in; `..` is left to the kernel, which knows the links."""
        if path == "~" or path.startswith("~/"):
            path = self.home + path[1:]
        return os.path.join(self.driver.cwd, path)

    def run(self, ask: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        """A command in the shell."""
        return self.driver.run(body, ask["timeout"])

    def exec(self, ask: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        """A program beside the shell."""
        return self.driver.exec(ask["argv"], body, ask["timeout"], self.path(ask["cwd"]))

    def read(self, ask: dict[str, Any], _: bytes) -> tuple[dict[str, Any], bytes]:
        """A file."""
        return {}, read_file(self.path(ask["path"]), ask["limit"])

    def write(self, ask: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        """A file made or replaced."""
        write_file(self.path(ask["path"]), body)
        return {}, b""

    def list(self, ask: dict[str, Any], _: bytes) -> tuple[dict[str, Any], bytes]:
        """A folder's entries, as the body."""
        return {}, text(list_folder(self.path(ask["path"]), ask["depth"], ask["hidden"])).encode()

    def look(self, ask: dict[str, Any], _: bytes) -> tuple[dict[str, Any], bytes]:
        """What is new of the workspace's sources."""
        return self.looks.look(ask)

    def pack(self, ask: dict[str, Any], _: bytes) -> tuple[dict[str, Any], bytes]:
        """A tar of files of the workspace, in frames marked `more`."""

        def send(data: bytes) -> None:
            self.channel.send({"id": ask["id"], "more": True}, data)

        pack(self.workspace, ask["paths"], ask["bytes"], ask["files"], send)
        return {}, b""

    def unpack(self, ask: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        """The files of a tar written."""
        unpack(ask["files"], body, self.path(ask["into"]))
        return {}, b""

    def save(self, ask: dict[str, Any], _: bytes) -> tuple[dict[str, Any], bytes]:
        """An archive of whole folders, in frames marked `more`."""

        def send(data: bytes) -> None:
            self.channel.send({"id": ask["id"], "more": True}, data)

        save_trees(ask["roots"], ask["without"], ask["bytes"], send)
        return {}, b""

    def load(self, ask: dict[str, Any], _: bytes) -> tuple[dict[str, Any], bytes]:
        """Such an archive laid out; its parts follow the request, an empty one last."""

        def receive() -> bytes:
            return self.channel.exactly(int.from_bytes(self.channel.exactly(4), "big"))

        parts = iter(receive, b"")
        try:
            load_trees(ask["roots"], parts)
        finally:
            for _rest in parts:
                """What is not used is read all the same."""
        return {}, b""

    def renew(self, ask: dict[str, Any], _: bytes) -> tuple[dict[str, Any], bytes]:
        """All that runs ended, and a new shell."""
        self.driver.renew()
        return {"cwd": self.driver.cwd}, b""

    def answer(self) -> None:
        """Do one request."""
        ask, body = self.channel.receive()
        work: Callable[[dict[str, Any], bytes], tuple[dict[str, Any], bytes]] = getattr(self, ask["op"])
        try:
            header, body = work(ask, body)
        except Refused as error:
            header, body = {"refused": str(error)}, b""
        except (OSError, MemoryError, RecursionError, ValueError) as error:
            number = getattr(error, "errno", None) or 5
            header, body = {"errno": number, "error": getattr(error, "strerror", None) or str(error)}, b""
        self.channel.send({"id": ask["id"], **header}, body)


def main() -> None:
    """Serve until the host closes the pipe; then leave nothing behind."""
    channel = Channel()
    while os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC) < 15:
        """Keep the low descriptors taken: bash gets its own there."""
    try:
        score = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        score = getattr(sys, "score", -1)  # of `enter.py`
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if os.getpid() != 1:
        libc.prctl(PR_SET_PDEATHSIG, SIGHUP, 0, 0, 0)
    inside = None
    try:
        inside = Inside(channel, score)
        while True:
            inside.driver.idle()
            inside.answer()
    except Ended:
        pass
    finally:
        if inside:
            inside.driver.sweep()
        os._exit(0)


main()
