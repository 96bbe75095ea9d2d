"""Cases of the examiner: what every backend that isolates keeps apart, though the inside may see that it is there."""

import contextlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import mlgym
from mlgym.sandbox import Bind, SandboxSpec, Shell, open_shell, weak
from mlgym.sandbox.examiner import Case, Place, Skipped, must, says
from mlgym.sandbox.examiner_files import refused

SECRET = "canary-8731"
LOOKS = (
    "head -c 1 /proc/{}/environ",
    "readlink /proc/{}/fd/0",
    "ls /proc/{}/cwd/",
    "ls /proc/{}/root/",
    "head -c 1 /proc/{}/mem",
)
TOUCHES = (
    "echo x >>'{}'",
    ": >'{}'",
    "truncate -s 1 '{}'",
    "rm -f '{}'",
    "mv '{}' moved",
    "ln '{}' linked && echo x >>linked",
    "chmod 777 '{}'",
    "chmod 000 '{}'",
    "setfattr -n user.x -v y '{}'",
    "touch '{}'/..made",
)


def fenced() -> None:
    """Skip the case where nothing but modes keeps files apart."""
    if not weak.version():
        raise Skipped("this kernel has no Landlock: what every user of the machine may read can be read")


def other_processes(place: Place) -> None:
    """The host's processes, the driver and those of another sandbox can be neither signalled nor looked into."""
    with place.shell() as one, place.shell() as two:
        there = says(one, "sleep 300 & echo $! $PPID; readlink /proc/self/ns/pid").output.split()[-3:]
        pids = ["$PPID"]
        if there[2] == str(Path("/proc/self/ns/pid").readlink()):  # otherwise the numbers mean others in there
            pids += [str(os.getpid()), *there[:2]]
        for pid in pids:
            for look in LOOKS:
                must(two.run(look.format(pid), 5).code != 0, f"{look.format(pid)} shows something")
        for pid in pids[1:]:
            must(two.run(f"kill -0 {pid}", 5).code != 0, f"{pid} can be signalled")
        says(two, "for n in KILL STOP TERM HUP; do kill -$n $PPID; done; true", code=0)
        says(two, "echo alive", "alive\n")
        says(one, "jobs | grep -c Running", "1\n")


@contextlib.contextmanager
def canaries(place: Place) -> Iterator[list[Path]]:
    """Files of the host with a secret in them: for all to read, in this user's home, and one of this package."""
    with tempfile.TemporaryDirectory() as public, tempfile.TemporaryDirectory(dir=Path.home()) as home:
        found = [Path(folder, f"{secrets.token_hex(6)}.txt") for folder in (public, home)]
        for path in found:
            path.parent.chmod(0o777)  # what may not be used needs no mode to guard it
            path.write_text(SECRET)
            path.chmod(0o666)
        yield found


def read_elsewhere(place: Place) -> None:
    """No file of the host can be read by its path, whatever its mode: yours, this package's, the caches'."""
    fenced()
    with canaries(place) as files, place.shell() as shell:
        for path in (*files, Path(mlgym.__file__), Path(mlgym.__file__).parent / "tasks" / "suites.toml"):
            says(shell, f"ln -sfn '{path}' link; cat link '{path}' || cp '{path}' x || echo none", None)
            must("none" in says(shell, f"cat link '{path}' 2>/dev/null || echo none").output, f"{path} was read")
            refused(OSError, lambda path=path: shell.read(str(path)), f"{path} was read")  # type: ignore[misc]
        names = [shell.sandbox.interpreter, *says(shell, "ls /usr/bin/python3* | grep -v config").output.split()]
        for program in names:
            ran = shell.exec([program, "-c", "import mlgym, mlgym.records"])
            must(ran.code != 0, f"{program} imports mlgym")


def written_elsewhere(place: Place) -> None:
    """Nothing outside can be changed: not its bytes, not its name, not its mode, though its mode would allow it."""
    fenced()
    with canaries(place) as files, place.shell() as shell:
        for path in files:
            before = path.stat()
            for touch in TOUCHES:
                shell.run(touch.format(path), 5)
            shell.run(f"touch '{path.parent}/made'; mkdir '{path.parent}/folder'; ln -s / '{path.parent}/link'", 5)
            after = path.stat()
            must(after.st_mode == before.st_mode and path.read_text() == SECRET, f"{path} was changed")
            must([each.name for each in path.parent.iterdir()] == [path.name], f"something was made beside {path}")
        for folder in (
            "/",
            "/usr",
            "/etc",
            "/usr/bin",
            "/var/tmp",
            "/dev",
            str(Path(shell.sandbox.interpreter).parent),
        ):
            name = f"{folder}/{secrets.token_hex(6)}"
            shell.run(f"touch {name}", 5)
            must(folder == "/var/tmp" or not Path(name).exists(), f"{name} was made")
            with contextlib.suppress(OSError):
                Path(name).unlink()


def shown(place: Place) -> None:
    """What one sandbox is shown is read-only, and no other finds it; so is the workspace of one closed to the other."""
    source, environment = place.folder / "source", place.folder / "env"
    for folder in (source, environment / "bin"):
        folder.mkdir(parents=True)
    (source / "answers.csv").write_text(SECRET)
    (environment / "bin" / "tool").write_text("#!/bin/sh\necho tool\n")
    (environment / "bin" / "tool").chmod(0o755)
    work = place.folder / "own" / "workspace"
    work.mkdir(parents=True)
    mine = place.backend.system == "host"  # an image has environments of its own
    tool = "tool" if mine else "echo tool"
    binds = (Bind(source, "/opt/answers"), Bind(source, "/home/agent/workspace/data"))
    spec = SandboxSpec(work, environment if mine else None, binds)
    with open_shell(place.backend, spec) as one, place.shell() as two:
        says(one, f"{tool}; cat data/answers.csv", f"tool\n{SECRET}")
        must(one.read(one.inside("/opt/answers/answers.csv")) == SECRET.encode(), "what is shown is not there")
        for path in ("/opt/answers/answers.csv", "/home/agent/workspace/data/answers.csv", "/opt/env/bin/tool"):
            for touch in TOUCHES:
                one.run(touch.format(one.inside(path)), 5)
        must((source / "answers.csv").read_text() == SECRET, "the source was changed")
        must((source / "answers.csv").stat().st_mode & 0o777 == 0o644, "the source's mode was changed")
        says(one, tool, "tool\n")
        one.write("own.txt", SECRET.encode())
        for path in (one.inside("/opt/answers/answers.csv"), f"{one.workspace}/own.txt", f"{source}/answers.csv"):
            if one.workspace == two.workspace:
                path = path.replace(one.workspace, str(work))
            must(SECRET not in two.run(f"cat '{path}'", 5).output, f"{path} was read by another sandbox")
            two.run(f"echo forged >'{path}'; rm -f '{path}'", 5)
        must(one.read("own.txt") == SECRET.encode(), "another sandbox wrote into the workspace")


def ended(place: Place) -> None:
    """A driver that is killed from outside takes all of its sandbox with it."""
    from mlgym.sandbox.examiner_files import alive, gone

    mark = f"96{secrets.randbelow(10**7):07}"
    with place.shell() as shell:
        daemon(shell, mark)
        must(len(alive(mark)) >= 2, "the test's own processes do not run")
        process = shell._process
        assert process
        process.kill()
        process.wait()
        gone(mark)


def daemon(shell: Shell, mark: str) -> None:
    """Processes that hide from their parents."""
    says(shell, f"(setsid setsid sh -c 'sleep {mark}.1 & exec setsid sleep {mark}.2' &); sleep 0.3")


APART = (
    Case("apart: other processes", other_processes, walled=True),
    Case("apart: nothing elsewhere is read", read_elsewhere, walled=True),
    Case("apart: nothing elsewhere is written", written_elsewhere, walled=True),
    Case("apart: what is shown to one", shown, walled=True),
    Case("apart: a killed driver leaves nothing", ended, walled=True),
)
