"""The host's end of a sandbox: one persistent bash and the files beside it, over one pipe pair to `inside.py`."""

import codecs
import contextlib
import io
import json
import marshal
import os
import secrets
import select
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, Self

from mlgym.errors import SandboxError
from mlgym.sandbox.meter import STOPPED, Meter
from mlgym.sandbox.spawn import launch
from mlgym.sandbox.tar import SubmissionRefused, checked

if TYPE_CHECKING:
    from mlgym.sandbox import Sandbox

PROXY, PROXY_PORT = "/run/proxy", 3128  # inside: the host's proxy, and where the driver lets it listen
START, SLACK = 30.0, 20.0  # seconds that a start may take, and an answer beside what was asked for
PATIENCE, DISTRUST = 10.0, 2.0  # seconds that a driver has for its end; one that has failed has less
HEADER, BODY = 1 << 20, 1 << 30  # bytes that an answer may have
WHOLE = 600.0  # seconds for whole folders
PROGRAM = (
    *("inside_files.py", "inside_looks.py", "inside_trees.py", "inside_output.py", "inside_network.py"),
    *("inside_shell.py", "inside.py"),
)
BOOT = """import os,marshal
def r(n):
  b=b''
  while len(b)<n:
    p=os.read(0,n-len(b))
    b+=p or os._exit(1)
  return b
for c in marshal.loads(r(int.from_bytes(r(4),'big'))):exec(c)"""


@dataclass(frozen=True)
class Ran:
    """A command that has ended; `seconds` of wall time, `cwd` of the shell after it.

    `code` is None after a timeout. `restarted` means that the shell itself ended and was replaced: folder and files are
    as they were, variables and functions are gone. `cut`: the middle of the output was left out (the text says so).
    `hit` names the bound of the sandbox that it ran into: oom, disk, processes, output or timeout.
    """

    output: str
    code: int | None
    status: Literal["ok", "timeout", "restarted"]
    cwd: str
    seconds: float
    cut: bool = False
    hit: str = ""


@dataclass(frozen=True)
class Entry:
    """Something in a folder: `path` relative to the folder that was listed, `size` in bytes (0 but for files)."""

    path: str
    kind: Literal["file", "dir", "link", "other"]
    size: int


@dataclass(frozen=True)
class Look:
    """What a look at the workspace's sources found: contents that are new, known files that are gone or have become
    too large, and whether that is all.
    """

    files: dict[str, bytes]
    gone: tuple[str, ...]
    large: tuple[str, ...]
    whole: bool


@cache
def program(compiled: bool) -> bytes:
    """The program for the inside, its length first: compiled for this very Python, or as text for another."""
    here = Path(__file__).parent
    texts = {f"<{name[:-3]}>": (here / name).read_text() for name in PROGRAM}
    codes = [compile(text, name, "exec", dont_inherit=True) if compiled else text for name, text in texts.items()]
    data = marshal.dumps(codes)
    return len(data).to_bytes(4, "big") + data


class Shell:
    """A started sandbox with one persistent bash in it. Calls from several threads are done one after another.

    Every call raises SandboxError when the sandbox is gone; file calls raise the builtin OSErrors of the inside.
    """

    def __init__(self, sandbox: "Sandbox") -> None:
        self.sandbox, self.workspace, self.cwd = sandbox, sandbox.workspace, sandbox.workspace
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.RLock()
        self._buffer = bytearray()
        self._meter: Meter | None = None
        self._hit = ""
        self._cpu_s = 0.0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the sandbox and its shell; raises SandboxError with what the sandbox's program said."""
        with self._lock:
            try:
                self.sandbox.start()
                self.workspace = self.sandbox.workspace
                limits = self.sandbox.spec.limits
                config: dict[str, Any] = {"output_kept": limits.output_kept, "output_max": limits.output_max}
                config |= {"proxy": PROXY if self.sandbox.spec.proxy else "", "port": PROXY_PORT}
                config |= {"home": self.sandbox.home, "workspace": self.workspace, "outputs": self.sandbox.outputs}
                self._buffer.clear()
                argv = [self.sandbox.interpreter, "-I", "-S", "-c", BOOT]
                process = self._process = self._launched(argv)
                self._meter = self.sandbox.meter(process.pid)
                for pipe in (process.stdin, process.stdout, process.stderr):
                    assert pipe
                    os.set_blocking(pipe.fileno(), False)
                sent = program(self.sandbox.system == "host")
                with self._sensible():
                    self.cwd = str(self._call("", config, timeout=START, prefix=sent)[0]["cwd"])
            except BaseException:
                self.stop()
                raise

    @property
    def running(self) -> bool:
        """Whether the sandbox was started and neither stopped nor found gone."""
        return self._process is not None

    def stop(self) -> None:
        """End the sandbox and all that runs in it; safe to call twice."""
        self._stop(PATIENCE)

    def kill(self) -> None:
        """End the sandbox at once, from another thread: the call that waits for it finds it gone."""
        process = self._process
        if process:
            process.kill()

    def _stop(self, patience: float) -> None:
        with self._lock:
            process, self._process = self._process, None
            meter, self._meter = self._meter, None
            cpu_s = meter.cpu_s() if meter else 0.0
            try:
                if process:
                    end(process, patience)
                if meter:
                    self._hit = meter.hit() or self._hit
                    meter.close()
                    self._cpu_s += max(cpu_s, meter.cpu_s())
            finally:
                self.sandbox.stop()

    def hit(self) -> str:
        """The last bound that commands ran into since this was asked before; empty where there was none."""
        hit, self._hit = self._hit, ""
        return hit

    @property
    def cpu_s(self) -> float:
        """Processor seconds of all that ever ran in the sandbox, after its end too, and in those before it."""
        return self._cpu_s + (self._meter.cpu_s() if self._meter else 0.0)

    def run(self, command: str, timeout: float) -> Ran:
        """Run a command in the persistent shell, at most `timeout` seconds; then what it started is stopped."""
        return self._ran({"op": "run", "timeout": timeout}, command.replace("\0", "").encode(errors="replace"))

    def exec(self, argv: Sequence[str], stdin: bytes = b"", timeout: float = 60, cwd: str = "") -> Ran:
        """Run a program beside the shell: its state is neither seen nor changed."""
        return self._ran({"op": "exec", "argv": list(argv), "timeout": timeout, "cwd": cwd}, stdin)

    def read(self, path: str, limit: int = 10_000_000) -> bytes:
        """A regular file's bytes; one longer than `limit` is refused with an OSError."""
        return self._call("read", {"path": path, "limit": limit}, most=limit)[1]

    def write(self, path: str, data: bytes) -> None:
        """Make or replace a file; its folders are made."""
        self._call("write", {"path": path}, data)

    def list(self, path: str, depth: int = 1, hidden: bool = False) -> list[Entry]:
        """What is in a folder, `depth` levels down, sorted by name within each folder; at most 10,000 entries."""
        with self._sensible():
            found = json.loads(self._call("list", {"path": path, "depth": depth, "hidden": hidden})[1])
            return [Entry(*each) for each in found]

    def look(self, since: int, next: int, known: Sequence[str], choice: Mapping[str, Any]) -> Look:
        """What is new of the workspace's sources since the look that was called `since`, this one being called `next`.

        All of them, where the program inside does not know of that look. `known` are the paths that the caller has,
        `choice` says what a source is, and has the bounds (see `watch.CHOICE`). Names that do not stay in the workspace
        are left out.
        """
        ask = {**choice, "since": since, "next": next, "known": list(known)}
        header, body = self._call("look", ask, most=choice["bytes"])
        with self._sensible():
            files, at = dict[str, bytes](), 0
            for path, size in header["files"][: choice["files"]]:
                with contextlib.suppress(SubmissionRefused):
                    files["/".join(checked(str(path), choice["depth"]))] = body[at : at + int(size)]
                at += int(size)
            gone, large = (tuple(path for path in header[name] if path in known) for name in ("gone", "large"))
            return Look(files, gone, large, bool(header["whole"]))

    def pack(self, paths: Sequence[str], max_bytes: int, max_files: int) -> bytes:
        """A tar of the files that paths, folders and globs relative to the workspace name.

        Raises SubmissionRefused for one that is missing, a link, no regular file, or too much together.
        """
        room = 2 * max_bytes + 4096 * (max_files + 16)
        ask = {"paths": list(paths), "bytes": max_bytes, "files": max_files}
        return self._call("pack", ask, most=room, timeout=300)[1]

    def unpack(self, tar: bytes, into: str) -> None:
        """Write the files of a tar that the host has made below the folder `into`."""
        files: list[tuple[str, ...] | tuple[str, int, int]] = []
        data = bytearray()
        with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isreg() else None
                if file:
                    files.append((member.name, 0o755 if member.mode & 0o100 else 0o644, member.size))
                    data += file.read()
                elif member.isdir():
                    files.append((member.name,))
        self._call("unpack", {"into": into, "files": files}, bytes(data), timeout=300)

    def save(self, roots: Sequence[str], without: Sequence[str], out: IO[bytes], most: int) -> None:
        """Write an archive of whole folders, but for the paths `without`, to a file of the host, which holds what no
        one but `load` may look into; more than `most` bytes are refused with an OSError.
        """
        ask = {"roots": list(roots), "without": list(without), "bytes": most}
        self._call("save", ask, most=2 * most + HEADER, timeout=WHOLE, sink=out.write)

    def load(self, roots: Sequence[str], source: IO[bytes]) -> None:
        """Lay out an archive that `save` made, what it has of the n-th of its folders in the n-th of `roots`."""
        parts = iter(lambda: source.read(HEADER), b"")
        self._call("load", {"roots": list(roots)}, timeout=WHOLE, parts=parts)

    def renew(self) -> None:
        """End all that runs inside, and start a new shell in the folder of the old one."""
        with self._sensible():
            self.cwd = str(self._call("renew", {})[0]["cwd"])

    def inside(self, path: str) -> str:
        """Where the commands see what a spec puts at `path` (itself, but for `local`)."""
        return self.sandbox.inside(path)

    def _launched(self, argv: Sequence[str]) -> "subprocess.Popen[bytes]":
        try:
            return launch(self.sandbox, argv, stderr=subprocess.PIPE)
        except OSError as error:
            raise SandboxError(f"The sandbox's program cannot be started: {error}.") from error

    def _ran(self, ask: dict[str, Any], body: bytes) -> Ran:
        started = time.monotonic()
        most = self.sandbox.spec.limits.output_kept + 1024
        try:
            header, output = self._call(ask["op"], ask, body, most=most, timeout=ask["timeout"] + SLACK)
        except OSError as error:
            raise SandboxError(f"The sandbox can run nothing more: {error}.") from error
        seconds = time.monotonic() - started
        with self._sensible():
            return self._ended(header, output, seconds)

    def _ended(self, header: dict[str, Any], output: bytes, seconds: float) -> Ran:
        self.cwd = str(header["cwd"])
        stopped = header["verdict"] == "timeout"
        text = spell(output, header)
        hit = self._meter.hit() if self._meter else ""
        if hit:
            text += f"\n{self._stopped(hit)}\n"
        elif header["verdict"] != "ok":
            hit = "output" if header["verdict"] == "flood" else "timeout"
        self._hit = hit or self._hit
        if header["restarted"] and stopped:
            text += "\n[the shell had to be replaced: its variables and functions are gone]\n"
        status: Literal["ok", "timeout", "restarted"] = (
            "timeout" if stopped else "restarted" if header["restarted"] else "ok"
        )
        return Ran(text, None if stopped else int(header["code"]), status, self.cwd, seconds, bool(header["cut"]), hit)

    def _call(
        self,
        op: str,
        ask: dict[str, Any],
        body: bytes = b"",
        *,
        most: int = BODY,
        timeout: float = 60,
        prefix: bytes = b"",
        sink: Callable[[bytes], object] | None = None,
        parts: Iterable[bytes] | None = None,
    ) -> tuple[dict[str, Any], bytes]:
        """One request, with `parts` that follow it, and its answer: header and body, unless a `sink` takes the body."""
        ticket = secrets.token_hex(8)
        head = marshal.dumps({"op": op, "id": ticket, **ask}, 2)
        frame = prefix + len(head).to_bytes(4, "big") + len(body).to_bytes(4, "big") + head + body
        with self._lock:
            end = time.monotonic() + timeout
            self._send(frame, end)
            if parts is not None:
                self._send_parts(parts, end)
            gathered: list[bytes] = []
            while True:
                header, data = self._receive(end, most)
                if header.get("id") == ticket:
                    (sink or gathered.append)(data)
                    most -= len(data)
                    if not header.get("more"):
                        break
                if time.monotonic() > end:  # answers to nothing, or parts without an end
                    raise self._late()
        if "refused" in header and op == "pack":
            raise SubmissionRefused(str(header["refused"]))
        if "errno" in header:
            with self._sensible():
                failure = int(header["errno"]), str(header["error"])
            raise OSError(*failure, ask.get("path", ask.get("into", "")) or None)
        return header, b"".join(gathered)

    def _send(self, frame: bytes, end: float) -> None:
        process = self._alive()
        assert process.stdin
        rest = memoryview(frame)
        fd = process.stdin.fileno()
        try:
            while rest:
                try:
                    rest = rest[os.write(fd, rest) :]
                except BlockingIOError:
                    self._await(fd, select.POLLOUT, end)
        except BrokenPipeError:
            raise self._lost() from None
        except BaseException:
            if 0 < len(rest) < len(frame):
                self._stop(DISTRUST)  # half a request: nothing sensible can follow it
            raise

    def _send_parts(self, parts: Iterable[bytes], end: float) -> None:
        try:
            for part in parts:
                self._send(len(part).to_bytes(4, "big") + part, end)
            self._send(bytes(4), end)
        except BaseException:
            self._stop(DISTRUST)
            raise

    def _receive(self, end: float, most: int) -> tuple[dict[str, Any], bytes]:
        """One frame; the buffer keeps all of it until it is whole, so that an interrupt loses nothing."""
        self._fill(8, end)
        head, body = int.from_bytes(self._buffer[:4], "big"), int.from_bytes(self._buffer[4:8], "big")
        if head > HEADER or body > max(most, 0):
            self._stop(DISTRUST)
            raise SandboxError(
                f"The sandbox answered with {head + body} bytes, more than was asked for; it was stopped."
            )
        self._fill(8 + head + body, end)
        header, data = bytes(self._buffer[8 : 8 + head]), bytes(memoryview(self._buffer)[8 + head : 8 + head + body])
        del self._buffer[: 8 + head + body]
        with self._sensible():
            return dict(json.loads(header)), data

    @contextlib.contextmanager
    def _sensible(self) -> Iterator[None]:
        """Around what is made of an answer: one that nothing can be made of ends the sandbox."""
        try:
            yield
        except (LookupError, TypeError, ValueError, OverflowError, RecursionError) as error:
            self._stop(DISTRUST)
            raise SandboxError("The sandbox answered with nonsense; it was stopped.") from error

    def _fill(self, size: int, end: float) -> None:
        process = self._alive()
        assert process.stdout
        fd = process.stdout.fileno()
        while len(self._buffer) < size:
            try:
                data = os.read(fd, 1 << 20)
            except BlockingIOError:
                self._await(fd, select.POLLIN, end)
                continue
            if not data:
                raise self._lost()
            self._buffer += data

    def _await(self, fd: int, events: int, end: float) -> None:
        poll = select.poll()
        poll.register(fd, events)
        if not poll.poll(min(max(0.0, end - time.monotonic()) * 1000, 1e9)):
            raise self._late()

    def _late(self) -> SandboxError:
        self._stop(DISTRUST)
        return SandboxError("The sandbox did not answer in time and was stopped.")

    def _alive(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            raise SandboxError("The sandbox is not running.")
        return self._process

    def _lost(self) -> SandboxError:
        """The error for a sandbox that has ended by itself."""
        process = self._alive()
        assert process.stderr
        try:
            code = process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        said = (process.stderr.read() or b"").decode(errors="replace").strip()
        self.stop()
        text = f"The sandbox has ended by itself (code {code}){': ' + said if said else ''}."
        return SandboxError(f"{text} {self._stopped(self._hit)}" if self._hit in STOPPED else text)

    def _stopped(self, hit: str) -> str:
        """What is said of a bound that was hit."""
        return STOPPED[hit].format(**vars(self.sandbox.spec.limits))


def spell(output: bytes, header: dict[str, Any]) -> str:
    """Output as text, with a line that says what was left out where it was cut."""
    text = output.decode(errors="replace")
    if cut := int(header["cut"]):
        head, tail = output[: int(header["head"])], output[int(header["head"]) :]
        start = codecs.getincrementaldecoder("utf-8")("replace").decode(head)  # without half a character at its end
        while tail and tail[0] & 0xC0 == 0x80:
            tail = tail[1:]
        where = f"; the whole is in {header['whole']}" if header["whole"] else ""
        text = f"{start}\n[... {cut} bytes left out{where} ...]\n{tail.decode(errors='replace')}"
    if header["verdict"] == "flood":
        text += "\n[stopped: it printed more than is allowed]\n"
    return text


def end(process: "subprocess.Popen[bytes]", patience: float) -> None:
    """Close a driver's pipes, on which it ends by itself, and wait; kill it when it does not."""
    assert process.stdin and process.stdout
    process.stdin.close()
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
    if process.stderr:
        process.stderr.close()
