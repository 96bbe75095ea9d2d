"""Cases of the examiner: files, programs beside the shell, limits, and the end."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import mlgym
from mlgym.sandbox import SubmissionRefused
from mlgym.sandbox.examiner import Case, Failed, Place, must, python, says
from mlgym.sandbox.snapshots import Shelf, kept
from mlgym.sandbox.tar import read_tar, write_tar

MB = 1 << 20


def refused(kind: type[Exception], do: Callable[[], object], why: str) -> str:
    """What an act that must be refused with this exception says."""
    try:
        do()
    except kind as error:
        return str(error)
    raise Failed(why)


def round_trip(place: Place) -> None:
    """Files are written, read and listed as they are."""
    data = bytes(range(256)) * 4000
    with place.shell() as shell:
        shell.write("a/b/c.bin", data)
        must(shell.read(f"{shell.workspace}/a/b/c.bin") == data, "the bytes are not the same")
        says(shell, "cd a; wc -c <b/c.bin; touch .hidden; ln -s / link", "1024000\n")
        must(shell.read("b/../b/c.bin") == data, "a relative path does not go by the shell's folder")
        shell.write("~/.examined", b"home")
        says(shell, "cat ~/.examined; rm ~/.examined", "home")
        shell.write("b/c.bin", b"short")
        must(shell.read("b/c.bin") == b"short", "a file was not replaced whole")
        listed = [(each.path, each.kind, each.size) for each in shell.list(".", depth=3)]
        must(listed == [("b", "dir", 0), ("b/c.bin", "file", 5), ("link", "link", 0)], f"{listed}")
        must([each.path for each in shell.list(".", hidden=True)] == [".hidden", "b", "link"], "hidden files")


def file_errors(place: Place) -> None:
    """Files that cannot be read say why, at once."""
    with place.shell() as shell:
        says(shell, "mkfifo fifo; mkdir d; truncate -s 3G sparse; touch secret; chmod 0 secret; ln -s loop loop")
        refused(FileNotFoundError, lambda: shell.read("none"), "a missing file was read")
        refused(IsADirectoryError, lambda: shell.read("d"), "a folder was read")
        for name in ("fifo", "/dev/zero", "sparse", "loop", "/dev/ptmx", "name\0nul", "x" * 5000):
            refused(OSError, lambda name=name: shell.read(name), f"{name[:20]} was read")  # type: ignore[misc]
        refused(OSError, lambda: shell.write("fifo", b""), "a fifo was written")
        refused(OSError, lambda: shell.write("secret/file", b""), "a file was taken for a folder")
        refused(OSError, lambda: shell.list("none"), "a missing folder was listed")
        closed = says(shell, "stat -c %a secret").output == "0\n"  # `landlock` sets few modes
        if closed and (os.geteuid() or place.backend.isolation != "none"):
            refused(PermissionError, lambda: shell.read("secret"), "a closed file was read")
        says(shell, "echo alive", "alive\n")


def packed(place: Place) -> None:
    """A submission comes out and goes in whole; globs and folders are understood."""
    with place.shell() as shell, place.shell() as other:
        says(shell, "mkdir -p out/deep; echo 1 >out/a.csv; echo 2 >out/deep/b.csv; echo 3 >out/.c; echo 4 >top.txt")
        wanted = {"out/*.csv": 1, "out/**/*.csv": 2, "out": 3, "*.txt": 1, "./out//deep/": 1, "**/b.csv": 1, "*/*/*": 1}
        for number, (pattern, count) in enumerate(wanted.items()):
            found = read_tar(shell.pack([pattern], MB, 10), place.folder / f"out{number}", MB, 20)
            must(len(found) == count, f"{pattern} gave {sorted(found)}")
        tar = shell.pack(["out", "top.txt", "out/a.csv"], MB, 10)
        found = read_tar(tar, place.folder / "all", MB, 20)
        must(sorted(found) == ["out/.c", "out/a.csv", "out/deep/b.csv", "top.txt"], f"{sorted(found)}")
        other.unpack(write_tar(place.folder / "all"), other.workspace)
        says(other, "cat top.txt out/a.csv out/deep/b.csv", "4\n1\n2\n")


def unpackable(place: Place) -> None:
    """What is no plain submission is refused with a reason."""
    with place.shell() as shell:
        says(
            shell,
            "mkdir d e; ln -s /etc d/link; ln -s d way; mkfifo e/fifo; truncate -s 3G sparse; echo 1 >f; ln -s f g",
        )
        says(shell, "mkdir many; for i in $(seq 30); do echo >many/$i; done; mkdir -p $(printf 'x/%.0s' $(seq 60))")
        says(shell, "echo 1 >$(printf 'x/%.0s' $(seq 60))f")
        bad = (
            "d",
            "way/link",
            "way/*",
            "e",
            "sparse",
            "none",
            "*.none",
            "g",
            "many",
            "x",
            "/etc/passwd",
            "../f",
            "",
            "f/..",
        )
        for pattern in bad:
            said = refused(SubmissionRefused, lambda p=pattern: shell.pack([p], MB, 10), f"{pattern} was packed")  # type: ignore[misc]
            must(said and "\n" not in said, f"{pattern}: {said}")
        must(shell.pack(["f"], MB, 10), "a plain file was not packed")


def beside(place: Place) -> None:
    """A program beside the shell has its own input, output and end, and leaves the shell alone."""
    with place.shell() as shell:
        says(shell, "x=1; cd /tmp; sleep 300 &")
        ran = shell.exec(["sh", "-c", "cat; pwd; echo $x; exit 4"], b"in" * 100_000)
        must(
            ran.output[:4] == "inin" and ran.output.endswith("/tmp\n\n") and ran.code == 4,
            f"{ran.output[-80:]} {ran.code}",
        )
        ran = shell.exec(["sh", "-c", "echo part; sleep 300"], timeout=0.3)
        must((ran.status, ran.output, ran.code) == ("timeout", "part\n", None), f"{ran}")
        must(shell.exec(["no-such-program"]).code == 127, "a program that is not there")
        must(shell.exec(["pwd"], cwd=shell.workspace).output == shell.workspace + "\n", "its folder")
        says(shell, "echo $x; jobs | grep -c Running", "1\n1\n")


def limits(place: Place) -> None:
    """Memory of a process, size of a file and open files are bounded."""
    with place.shell(memory_mb=256, file_mb=8, open_files=64) as shell:
        must("MemoryError" in python(shell, f"x = bytearray({600 * MB})"), "600 MB were had under a limit of 256")
        must("ok" in python(shell, f"x = bytearray({50 * MB}); print('ok')"), "50 MB were not had under a limit of 256")
        says(shell, f"head -c {20 * MB} /dev/zero >big 2>/dev/null; wc -c <big", f"{8 * MB}\n")
        must(
            "Too many open files" in python(shell, "x = [open('/dev/null') for _ in range(100)]"),
            "100 files were opened",
        )


def environment(place: Place) -> None:
    """The environment is what was given and nothing of the host's."""
    os.environ["EXAMINED_KEY"] = "canary-8731"
    try:
        with place.shell({"GIVEN": "a b'c\n"}) as shell:
            says(shell, 'echo "$GIVEN"', "a b'c\n\n")
            shown = says(
                shell, "env; exec 2>/dev/null; cat /proc/self/environ /proc/$PPID/environ | tr '\\0' '\\n'"
            ).output
            shown += shell.exec(["env"]).output + python(shell, "import os; print(os.environ)")
        must("canary" not in shown and "EXAMINED" not in shown, "a variable of the host is seen inside")
    finally:
        del os.environ["EXAMINED_KEY"]


def descriptors(place: Place) -> None:
    """No descriptor of the host and none of the driver is inherited."""
    with (place.folder / "canary").open("w") as canary:
        os.set_inheritable(canary.fileno(), True)
        with place.shell() as shell:
            code = "import os; f = '/proc/self/fd/'; print([os.readlink(f + n) for n in os.listdir(f) if int(n) > 2])"
            shell.write("f.py", code.encode())
            for text in (says(shell, f"{shell.sandbox.interpreter} -I f.py").output, python(shell, code)):
                must("canary" not in text and "pipe" not in text and "memfd" not in text, f"descriptors: {text}")


def snapshots(place: Place) -> None:
    """A snapshot is gone back to and forked from: files, the shell, and the folders that would end with the sandbox."""
    for how in ("", "copy"):
        shelf = Shelf(place.folder, how)
        with shelf.held(), place.shell() as shell:
            says(shell, "mkdir -p d/e; echo 1 >d/f; echo 1 >gone; ln -s d/f link; ln -s /etc/passwd out; chmod 750 d/f")
            says(shell, "x=1; f() { echo f$x; }; export y='a  b'; cd d; sleep 300 & echo 1 >~/.mine")
            mine = "cat ~/.mine;" if kept(shell) else ""
            look = f'{mine} cat f ../link ../gone; readlink ../out; stat -c %a f; f; echo "$y"; ls ..; jobs'
            before = says(shell, f"kill %1; wait; {look}").output
            saved = shelf.snapshot(shell)
            must(says(shell, look).output == before, f"after a snapshot ({how}): not as before")
            says(shell, "rm -r ../gone e; echo 2 >f; x=2; unset -f f; cd /; echo 2 >~/.mine; sleep 300 &")
            fork = shelf.branch(shell, saved)
            try:
                must(says(fork, look).output == before, f"a fork ({how}): not as before")
                says(fork, "echo 3 >f")
                says(shell, f"cat {shell.workspace}/d/f; echo $x", "2\n2\n")
            finally:
                shelf.discard(fork)
            shelf.restore(shell, saved)
            must(says(shell, look).output == before, f"gone back ({how}): not as before")


def nothing_left(place: Place) -> None:
    """After the end no process is left, however it hid."""
    mark = f"98{time.time_ns() % 10**7:07}"
    with place.shell() as shell:
        says(
            shell,
            f"setsid nohup sleep {mark}.1 >/dev/null & (trap '' TERM HUP INT; sleep {mark}.2 &) ; sleep {mark}.3 &",
        )
        says(shell, f"(setsid setsid sh -c 'sleep {mark}.4 & exec setsid sleep {mark}.5' &); sleep 0.3")
        must(len(alive(mark)) >= 5, "the test's own processes do not run")
    gone(mark)


def host_killed(place: Place) -> None:
    """A host that is killed outright leaves no process of its sandboxes."""
    mark = f"97{time.time_ns() % 10**7:07}"
    workspace = place.folder / "workspace"
    workspace.mkdir()
    backend = f"{place.backend.__module__}:{place.backend.__name__}"
    code = (
        "import pathlib, sys, threading\n"
        "from mlgym.sandbox import SandboxSpec, open_shell\n"
        f"shell = open_shell({backend!r}, SandboxSpec(pathlib.Path({str(workspace)!r})))\n"
        "thread = threading.Thread(target=shell.start); thread.start(); thread.join()\n"
        f"shell.run('setsid sleep {mark}.1 & sleep {mark}.2 & sleep 0.1', 10)\n"
        f"print('ready', flush=True)\nshell.run('sleep {mark}.3', 100)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(mlgym.__file__).parent.parent), *sys.path])}
    host = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment)
    assert host.stdout
    must(host.stdout.readline() == b"ready\n", "the test's own host did not start")
    must(len(alive(mark)) >= 2, "a sandbox ended with the thread that asked for it")
    host.kill()
    host.wait()
    host.stdout.close()
    gone(mark)


def alive(mark: str) -> list[str]:
    """The processes of this machine whose command line begins with `sleep` and the mark."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "cmdline").read_bytes().startswith(b"sleep\0" + mark.encode()):
                found.append(folder.name)
    return found


def gone(mark: str) -> None:
    """Wait a little until no such process is left."""
    end = time.monotonic() + 5
    while left := alive(mark):
        must(time.monotonic() < end, f"{len(left)} processes are left")
        time.sleep(0.02)


FILES = (
    Case("files: written, read, listed", round_trip),
    Case("files: errors", file_errors),
    Case("submissions: packed and unpacked", packed),
    Case("submissions: links, fifos and floods refused", unpackable),
    Case("programs beside the shell", beside),
    Case("limits of memory, files and open files", limits),
    Case("the environment is only what was given", environment),
    Case("snapshots: gone back to and forked from", snapshots),
    Case("no inherited descriptors", descriptors),
    Case("nothing is left at the end", nothing_left),
    Case("nothing is left when the host is killed", host_killed),
)
