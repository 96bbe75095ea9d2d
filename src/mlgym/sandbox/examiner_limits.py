"""Cases of the examiner: what one sandbox uses up is bounded, and it is told which bound was hit.

Each bomb is bounded itself: where no limit holds it comes to less than a gigabyte and says so.
"""

import os
import time

from mlgym.sandbox import Ran, Shell
from mlgym.sandbox.examiner import Case, Place, Skipped, must, says
from mlgym.sandbox.examiner_shell import forks

DEVICES = {
    *("console", "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout"),
    *("tty", "urandom", "zero"),
}
TREE = """
import os, time
for _ in range(4):
    if not os.fork():
        kept = []
        for _ in range(38):
            kept.append(b"x" * (4 << 20))
            time.sleep(0.01)
        time.sleep(4)
        os._exit(0)
print("survived" if all(os.wait()[1] == 0 for _ in range(4)) else "some were ended")
"""
IN_MEMORY = """
import os, time
kept = []
for _ in range(75):
    kept.append(os.memfd_create("x"))
    os.write(kept[-1], b"x" * (8 << 20))
    time.sleep(0.02)
time.sleep(3)
print("survived")
"""
TEMPORARY = """
import time
kept, place = [], ["/tmp", "/dev/shm"]
for n in range(75):
    try:
        with open(f"{place[n % 2]}/{n}", "wb") as file:
            file.write(b"x" * (4 << 20))
    except OSError:
        pass
    kept.append(b"x" * (3 << 20))
    time.sleep(0.02)
time.sleep(3)
print("survived")
"""
WRITER = """
import time
for n in range(30):
    with open(f"big{n}", "wb") as file:
        file.write(b"x" * (16 << 20))
    time.sleep(0.08)
time.sleep(1)
print("survived")
"""
DELETED = """
import os, time
kept = []
for n in range(30):
    kept.append(open(f"big{n}", "wb", 0))
    os.unlink(f"big{n}")
    kept[-1].write(b"x" * (16 << 20))
    time.sleep(0.08)
time.sleep(1)
print("survived")
"""


def bomb(shell: Shell, code: str, hit: str) -> Ran:
    """Run a bomb as a job of the shell: it must be stopped, and the shell must live on as it was."""
    shell.write("/tmp/bomb.py" if shell.sandbox.isolation == "full" else "bomb.py", code.encode())
    name = "/tmp/bomb.py" if shell.sandbox.isolation == "full" else "bomb.py"
    says(shell, "kept=1")
    ran = shell.run(f"{shell.sandbox.interpreter} -I {name}", 30)
    must("survived" not in ran.output, "it was not stopped")
    must(ran.hit == hit, f"the hit is {ran.hit!r}, not {hit!r}: {ran.output:.300}")
    must("[stopped: " in ran.output, f"nothing is said of it: {ran.output:.300}")
    says(shell, "echo $kept", "1\n", hit="")
    return ran


def tree(place: Place) -> None:
    """The memory of several processes together is bounded."""
    with place.shell(memory_mb=256) as shell:
        bomb(shell, TREE, "oom")


def in_memory(place: Place) -> None:
    """Files without names that lie in memory count as memory."""
    with place.shell(memory_mb=256) as shell:
        seen(shell)
        bomb(shell, IN_MEMORY, "oom")


def temporary(place: Place) -> None:
    """Temporary file systems in memory count as memory, and do not fill all of it."""
    with place.shell(memory_mb=256) as shell:
        ran = shell.run('df -P /tmp /dev/shm | awk \'$1 == "tmpfs" || $1 == "shm" {n += $2} END {print n}\'', 5)
        must(int(ran.output) > 0, "the temporary folders are not in memory")
        bomb(shell, TEMPORARY, "oom")


def disk(place: Place) -> None:
    """The workspace is bounded; over the bound nothing can be added, but things can be deleted, and then it goes on."""
    with place.shell(disk_mb=100) as shell:
        bomb(shell, WRITER, "disk")
        before = size(shell)
        must(before < 350, f"{before} MB were written under a bound of 100")
        ran = shell.run("for n in $(seq 100); do head -c 2M /dev/zero >more$n; sleep 0.04; done", 20)
        must(ran.hit == "disk", f"more could be written while over the bound: {ran.output:.200}")
        must(size(shell) < before + 150, f"{size(shell) - before} MB were added")
        says(shell, "rm -f big* more*; ls | wc -l", None)
        time.sleep(1)
        shell.run("true", 5)
        says(shell, "head -c 20M /dev/zero >small; sleep 1; ls small", "small\n", hit="")


def deleted(place: Place) -> None:
    """Files that are deleted but open count as well."""
    with place.shell(disk_mb=100) as shell:
        seen(shell)
        bomb(shell, DELETED, "disk")


def seen(shell: Shell) -> None:
    """Skip the case where the host may not see the open files of what runs inside: in a container another user's."""
    pid = says(shell, "echo $$").output.strip()
    if shell.sandbox.isolation == "partial":
        try:
            os.stat(f"/proc/{pid}/fd/0")  # noqa: PTH116
        except PermissionError:
            raise Skipped(
                "this root may not look into other users' processes: files without names are not counted"
            ) from None


def size(shell: Shell) -> int:
    """MB in the workspace."""
    return int(says(shell, "du -sm . | cut -f1").output.split()[0])


def processes(place: Place) -> None:
    """Who has as many processes as may be is told so."""
    with place.shell(processes=64) as shell:
        if forks(shell, 100) > 64:
            raise Skipped("the number of processes is not limited")
        shell.run("true", 5)
        for _ in range(3):  # on a busy machine it may not have come far when the command ends
            ran = shell.run("b() { b | b & }; b; sleep 2", 5)
            if ran.hit == "processes":
                break
        must(ran.hit == "processes" and "[refused: " in ran.output, f"a fork bomb is called {ran.hit!r}")
        for _ in range(5):  # bash waits up to 15 seconds for its turn among the bomb's processes, which give up then
            ran = shell.run("sleep 0.3; echo alive $(echo twice)", 10)
            if ran.status == "ok":
                break
        must("alive twice" in ran.output, f"after a fork bomb nothing runs: {ran.status}, {ran.output:.200}")


def others(place: Place) -> None:
    """A flood of output and a lack of time are told; what goes well hits nothing."""
    with place.shell(output_max=1_000_000) as shell:
        ran = shell.run("yes | head -c 30M", 20)
        must(ran.hit == "output" and "[stopped: " in ran.output, f"a flood is called {ran.hit!r}")
        must(shell.run("sleep 10", 0.3).hit == "timeout", "a timeout is not called one")
        says(shell, "echo well", "well\n", hit="")


def seconds(place: Place) -> None:
    """The processor seconds are those of all that ran, the ended ones too."""
    with place.shell() as shell:
        before = shell.cpu_s
        code = "import time\nwhile time.process_time() < 0.5: pass\n"
        shell.exec([shell.sandbox.interpreter, "-I", "-c", code])
        says(shell, "true")
        taken = shell.cpu_s - before
        must(0.4 < taken < 3, f"half a second of a processor counts as {taken:.2f}")
    must(shell.cpu_s >= before + 0.4, "the seconds are forgotten at the end")


def first_victim(place: Place) -> None:
    """When the machine's memory runs out the kernel ends what runs inside, not the driver."""
    with place.shell() as shell:
        says(shell, "cat /proc/self/oom_score_adj", "1000\n")
        says(shell, "cat /proc/$PPID/oom_score_adj", "0\n")
        ran = shell.exec(["cat", "/proc/self/oom_score_adj"])
        must(ran.output == "1000\n", f"programs beside the shell have {ran.output!r}")


def kernel(place: Place) -> None:
    """Of the kernel's own folders there is what training needs, and nothing of the host's devices, keys and timers."""
    with place.shell() as shell:
        hidden = "acpi/* asound/* kcore keys latency_stats sched_debug scsi/* timer_list"
        command = f"cd /proc; for f in {hidden}; do head -c 1 $f 2>/dev/null | grep -qa . && echo $f; done; true"
        says(shell, command, "")
        says(shell, "cd; find /sys -type f 2>/dev/null | head -n 1", "")
        devices = set(says(shell, "ls /dev").output.split())
        must(devices <= DEVICES, f"there are devices: {devices - DEVICES}")
        says(shell, "nproc", f"{len(os.sched_getaffinity(0))}\n")
        says(shell, "wc -l </proc/meminfo >/dev/null && head -n 1 /proc/cpuinfo /proc/stat >/dev/null", "")


LIMITS = (
    Case("limits: memory of a whole tree", tree, walled=True),
    Case("limits: files without names in memory", in_memory, walled=True),
    Case("limits: temporary files in memory", temporary, full=True),
    Case("limits: disk", disk, walled=True),
    Case("limits: deleted files that are open", deleted, walled=True),
    Case("limits: a fork bomb is told", processes, walled=True),
    Case("limits: output and time are told", others),
    Case("limits: processor seconds", seconds),
    Case("walls: the kernel's folders", kernel, full=True),
    Case("limits: the driver is no victim", first_victim, walled=True),
)
