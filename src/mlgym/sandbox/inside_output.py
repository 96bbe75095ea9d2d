"""What a command prints, for `inside_shell.py`, which runs in the same namespace."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PIPE = 65536  # bytes that a pipe holds
NOISE = b"] tcsetattr: Inappropriate ioctl for device\n"  # of a bash without a terminal, when a child was killed


class Output:
    """What one command prints: all of it counted, both ends in memory, the whole in a file once it is long."""

    def __init__(self, fd: int, path: str, kept: int, most: int) -> None:
        self.fd, self.path, self.half, self.most = fd, path, kept // 2, most
        self.head, self.tail, self.total = bytearray(), bytearray(), 0
        self.file: int | None = None
        self.over = self.ended = False
        self.noise = b""

    def pump(self) -> int:
        """Take what the pipe holds now, at most one pipeful; returns the number of bytes."""
        try:
            data = os.read(self.fd, PIPE)
        except BlockingIOError:
            return 0
        except OSError:
            data = b""  # no fifo any more: a command inside has put something else there
        self.total += len(data)
        if not data or (self.total > self.most and self.over):
            self.close()
            return 0
        if self.total > self.most:
            return len(data)
        free = self.half - len(self.head)
        self.head += data[:free]
        self.tail += data[free:]
        if self.file is not None:
            self.store(data)
        elif len(self.tail) > self.half:
            self.store(bytes(self.head + self.tail))
        if len(self.tail) > 2 * self.half + PIPE:
            del self.tail[: -self.half]
        return len(data)

    def store(self, data: bytes) -> None:
        """Append to the file of the whole, as far as the disk allows."""
        try:
            if self.file is None:
                self.file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            os.write(self.file, data)
        except OSError:
            pass

    def result(self) -> tuple[dict[str, Any], bytes]:
        """The bytes kept, and where they were cut: after `head` bytes, `cut` are left out."""
        head, tail = bytes(self.head), bytes(self.tail[-self.half :])
        cut = self.total - len(head) - len(tail)
        if not cut:
            return {"head": 0, "cut": 0, "whole": ""}, self.clean(head + tail)
        head, tail = self.clean(head), self.clean(tail)
        return {"head": len(head), "cut": cut, "whole": self.path if self.file is not None else ""}, head + tail

    def clean(self, text: bytes) -> bytes:
        """The text without the shell's own complaints about its missing terminal."""
        if not self.noise or NOISE not in text:
            return text
        lines = text.splitlines(keepends=True)
        return b"".join(line for line in lines if not (line.startswith(self.noise) and line.endswith(NOISE)))

    def close(self) -> None:
        """Stop reading; who still writes gets SIGPIPE."""
        self.ended = True
        os.close(self.fd)
        if self.file is not None:
            os.close(self.file)
