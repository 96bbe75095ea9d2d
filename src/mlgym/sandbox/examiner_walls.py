"""Cases of the examiner: what a backend that claims isolation keeps inside, and what it keeps out."""

import contextlib
import os
import platform
import re
import secrets
import socket
import tempfile
from pathlib import Path

import mlgym
from mlgym.sandbox import Shell, weak
from mlgym.sandbox.examiner import Case, Place, Skipped, must, python, says
from mlgym.sandbox.examiner_files import refused
from mlgym.sandbox.examiner_shell import forks

CALL = """
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *numbers):
    result = libc.syscall(*[ctypes.c_long(n) for n in numbers])
    print(name, errno.errorcode.get(ctypes.get_errno(), "?") if result < 0 else "done")
"""
# Calls that must be refused, with their numbers on x86_64 and aarch64 and harmless arguments.
CALLS = {
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "ptrace": (101, 117),
    "unshare": (272, 97),
    "setns": (308, 268),
    "bpf": (321, 280),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "perf_event_open": (298, 241),
    "io_uring_setup": (425, 425),
    "userfaultfd": (323, 282),
    "kexec_load": (246, 104),
    "init_module": (175, 105),
    "process_vm_writev": (311, 271),
    "open_by_handle_at": (304, 265),
    "fsopen": (430, 430),
    "move_mount": (429, 429),
    "pidfd_getfd": (438, 438),
    "shmget": (29, 194),
}
CONNECT = """
import errno, socket
with socket.socket(socket.AF_UNIX) as own, socket.socket(socket.AF_UNIX) as other:
    own.bind("own")
    own.listen()
    try:
        other.connect("own")
    except PermissionError:
        print("No connection")
"""
SECRET = "canary-8731"


def processes(place: Place) -> None:
    """The first process cannot be looked into, and no other is the host's."""
    with place.shell() as shell:
        for name in ("environ", "fd/0", "fd/3", "mem", "maps", "root/", "cwd/", "exe"):
            look = "ls" if name.endswith("/") else "readlink" if name in ("exe", "fd/0", "fd/3") else "head -c 1"
            ran = shell.run(f"{look} /proc/1/{name}", 5)
            must(ran.code != 0, f"/proc/1/{name} can be read")
        command = says(shell, "cat /proc/1/cmdline | tr '\\0' ' '").output
        for hidden in ("mlgym", str(place.folder), str(Path(mlgym.__file__).parent)):
            must(hidden not in command, f"/proc/1/cmdline tells of {hidden}")
        inside = says(shell, "readlink /proc/self/ns/pid; ls -d /proc/[0-9]* | wc -l").output.split()
        must(inside[0] != str(Path("/proc/self/ns/pid").readlink()), "the processes of the host are seen")
        must(int(inside[1]) < 8, f"{inside[1]} processes are seen in a fresh sandbox")


def sandboxes_apart(place: Place) -> None:
    """Two sandboxes share no processes, no temporary files, no memory and no user number, if root made them."""
    with place.shell() as one, place.shell() as two:
        says(one, "echo 1 >/tmp/shared; echo 1 >/dev/shm/shared; echo 1 >~/shared; sleep 300 &")
        says(two, "ls /tmp/shared /dev/shm/shared ~/shared 2>/dev/null; pgrep sleep", "", code=1)
        for namespace in ("pid", "net", "ipc", "uts", "mnt"):
            ask = f"readlink /proc/self/ns/{namespace}"
            must(says(one, ask).output != says(two, ask).output, f"they share the {namespace} namespace")
        if os.geteuid() == 0:
            must(says(one, "id -u").output != says(two, "id -u").output, "they share a user number")


def host_files(place: Place) -> None:
    """Files of the host are not there, by any path."""
    with (
        tempfile.TemporaryDirectory() as public,
        tempfile.NamedTemporaryFile("w", dir=Path.home()) as home,
        place.shell() as shell,
    ):
        canary = Path(public, f"canary-{secrets.token_hex(6)}.txt")
        canary.write_text(SECRET)
        for shown, mode in ((Path(public), 0o755), (canary, 0o644), (Path(home.name), 0o644)):
            shown.chmod(mode)  # what is not there needs no mode to hide it
        home.write(SECRET)
        home.flush()
        places = [str(canary), home.name, "/etc/shadow", "/etc/ssh", "/var/lib", "/var/log", "/sys", "/boot", "/mnt"]
        places += [str(Path.cwd() / "pyproject.toml"), str(Path(mlgym.__file__)), "/etc/hostname", "/etc/resolv.conf"]
        places += [f"/proc/{pid}/{way}{canary}" for pid in ("1", "self") for way in ("root", "cwd/../../..")]
        for path in places:
            says(shell, f"ln -sfn '{path}' link; cat link link/* 2>/dev/null; ls -A link/ 2>/dev/null", "")
            with contextlib.suppress(OSError):
                must(not shell.read("link"), f"{path} was read through a link")
        found = says(shell, f"find / -path /proc -prune -o -name '{canary.name}' -print 2>/dev/null", None).output
        must(not found, f"the host's file was found: {found}")
        seen = says(shell, "ls -A /root /home /opt /srv /mnt /var /run /etc 2>/dev/null").output
        for name in (".ssh", ".cache", ".bash_history", ".netrc", ".env", "lib", "shadow", "machine-id"):
            must(name not in seen.split(), f"{name} is seen")


def packages(place: Place) -> None:
    """No Python of the system has packages; mlgym and the examples of other packages are not there."""
    with place.shell() as shell:
        pythons = says(
            shell, "ls /usr/bin/python3* /usr/local/bin/python3* 2>/dev/null | grep -v config"
        ).output.split()
        code = "import sys, glob; print([f for p in sys.path if p.endswith('-packages') for f in glob.glob(p + '/*')])"
        for program in {*pythons, shell.sandbox.interpreter}:
            ran = shell.exec([program, "-c", code])
            must(ran.output == "[]\n", f"{program} has packages: {ran.output:.200}")
            ran = shell.exec([program, "-c", "import mlgym"])
            must("ModuleNotFoundError" in ran.output, f"{program} imports mlgym: {ran.output:.200}")
        found = says(
            shell, "find / -xdev \\( -name 'mlgym*' -o -name 'task.toml' -o -name 'iris*.csv' \\) 2>/dev/null"
        ).output
        must(not found, f"found {found}")
        shared = says(shell, "ls /usr/share").output.split()
        must(
            len(shared) < 20 and not {"doc", "dict", "datasets", "R", "javascript"} & set(shared),
            f"/usr/share has {shared}",
        )


def mounts(place: Place) -> None:
    """The table of mounts names nothing but what is shown."""
    with place.shell() as shell:
        table = says(shell, "cat /proc/self/mountinfo /proc/self/mounts").output
        for name in ("mlgym", "answers", "private", "oldroot", SECRET):
            must(name not in table, f"the table of mounts names {name}")


def read_only(place: Place) -> None:
    """Nothing can be written but the workspace, the home and the temporary folders, and those are bounded."""
    with place.shell() as shell:
        hidden = says(shell, "awk '$3 == \"tmpfs\" {print $2}' /proc/self/mounts").output.split()
        free = {"/tmp", "/dev/shm", shell.sandbox.home}
        for folder in {
            "/",
            "/usr",
            "/usr/bin",
            "/usr/lib",
            "/etc",
            "/dev",
            "/var",
            "/run",
            "/home",
            "/opt",
            "/proc",
            *hidden,
        } - free:
            ran = shell.run(f"mkdir {folder}/x || {{ chmod 777 {folder} && mkdir {folder}/x; }}", 5)
            must(ran.code != 0, f"{folder} can be written")
        for folder in free:
            size = says(shell, f"echo x >{folder}/y && rm {folder}/y; stat -fc '%b %S' {folder}", code=0).output.split()
            must(0 < int(size[0]) * int(size[1]) <= 4 << 30, f"{folder} is not bounded")
        unwritable(shell, "/proc/sys/kernel/hostname", "/proc/sysrq-trigger", "/proc/sys/vm/drop_caches")


def full(place: Place) -> None:
    """A home that is full or spoilt stops no command, and can be made free again."""
    with place.shell() as shell:
        says(shell, "head -c 4G /dev/zero >~/fill 2>/dev/null; stat -fc %f ~", "0\n")
        says(shell, "yes | head -c 300000 | tail -c 2; echo alive", "y\nalive\n")
        ran = says(shell, "yes | head -c 300000; echo alive", cut=True)
        must(ran.output.endswith("y\nalive\n"), "the end of a long output is missing")
        says(shell, "rm ~/fill; rm -rf ~/.output; ln -s /etc ~/.output", "")
        says(shell, "echo alive; rm ~/.output", "alive\n")
        says(shell, "echo alive", "alive\n")


def unwritable(shell: Shell, *files: str) -> None:
    """None of the kernel's files can be written."""
    says(shell, f"for f in {' '.join(files)}; do {{ echo 1 >$f; }} 2>/dev/null && echo $f; done; true", "")


def network(place: Place) -> None:
    """There is a loopback of its own, or none, and nothing else."""
    name = f"\0{secrets.token_hex(8)}"
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as local,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        place.shell() as shell,
    ):
        datagrams.bind(("127.0.0.1", 0))
        datagrams.setblocking(False)
        local.bind(name)
        local.listen()
        port = server.getsockname()[1]
        full = place.backend.isolation == "full"
        if full:
            says(shell, "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '", "lo\n")
        code = f"""
import socket
def attempt(what, family, address):
    try:
        with socket.socket(family) as s:
            s.settimeout(2)
            s.connect(address)
        print(what, "reached")
    except OSError as error:
        print(what, "refused")
try:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", {datagrams.getsockname()!r})
except OSError:
    pass
attempt("host", socket.AF_INET, ("127.0.0.1", {port}))
attempt("abstract", socket.AF_UNIX, {name!r})
attempt("internet", socket.AF_INET, ("1.1.1.1", 53))
attempt("internet 6", socket.AF_INET6, ("2606:4700:4700::1111", 53))
try:
    with socket.create_server(("127.0.0.1", 0)) as server:
        attempt("own", socket.AF_INET, server.getsockname())
except OSError:
    pass
"""
        wanted = ["host refused", "abstract refused", "internet refused", "internet 6 refused", *full * ["own reached"]]
        found = python(shell, code)
        if not full and weak.version() < 6 and "abstract reached" in found:
            raise Skipped("this kernel's Landlock does not keep abstract sockets in")
        must(found.splitlines() == wanted, found)
        with contextlib.suppress(BlockingIOError):
            must(not datagrams.recv(8), "a datagram reached the host")


def sockets(place: Place) -> None:
    """Sockets that pass a network namespace by are refused."""
    code = """
import socket
for name, family, kind, protocol in [
    ("vsock", 40, 1, 0), ("netlink audit", 16, 3, 9), ("netlink generic", 16, 3, 16), ("packet", 17, 3, 0),
    ("algorithms", 38, 5, 0), ("bluetooth", 31, 3, 1), ("raw", 2, 3, 1), ("rds", 21, 5, 0), ("key", 15, 3, 2),
    ("vsock stream pair", 40, 1, 0),
]:
    try:
        socket.socket(family, kind, protocol).close()
        print(name)
    except OSError:
        pass
[s.close() for s in socket.socketpair()]
print("end")
"""
    with place.shell() as shell:
        if place.backend.isolation == "full":
            code = code.replace("[s.close", "socket.socket(16, 3, 0).close()\n[s.close", 1)
        must((found := python(shell, code)) == "end\n", f"allowed: {found}")


def calls(place: Place) -> None:
    """Calls by which a kernel is attacked or a sandbox is left are refused."""
    column = {"x86_64": 0, "aarch64": 1}.get(platform.machine())
    if column is None:
        raise Skipped(f"the numbers of {platform.machine()} are not known")
    code = CALL + "".join(f"call({name!r}, {numbers[column]}, 0, 0, 0, 0, 0)\n" for name, numbers in CALLS.items())
    code += "call('clone3', 435, 0, 0)\n"
    code += f"call('clone', {(56, 220)[column]}, 0x10000000 | 17, 0, 0, 0, 0)\n"
    if column == 0:
        code += "call('x32', 0x40000000 | 39)\n"
    with place.shell() as shell:
        found = dict(line.split() for line in python(shell, code).splitlines())
    wrong = {name: error for name, error in found.items() if error not in ("EPERM", "ENOSYS")}
    must(len(found) >= len(CALLS) + 2 and not wrong, f"not refused: {wrong}")
    must(found["clone3"] == "ENOSYS", "clone3 is not said to be missing, so libraries do not fall back to clone")


def user_namespaces(place: Place) -> None:
    """No further user namespace, by any program."""
    with place.shell() as shell:
        for command in ("unshare -U true", "unshare -Urm true", "unshare -n true"):
            must(shell.run(command, 5).code != 0, f"{command} succeeds")
        status = says(
            shell, "grep -E 'Cap(Prm|Eff|Bnd|Amb)|NoNewPrivs|Seccomp:' /proc/self/status | tr -d '\\t'"
        ).output
        if place.backend.isolation != "full" and os.geteuid():  # no right can come from there without new privileges
            status = re.sub("CapBnd:.*", f"CapBnd:{'0' * 16}", status)
        wanted = (
            "".join(f"Cap{name}:{'0' * 16}\n" for name in ("Prm", "Eff", "Bnd", "Amb")) + "NoNewPrivs:1\nSeccomp:2\n"
        )
        must(status == wanted, status)


def setuid(place: Place) -> None:
    """No program gives another user's rights, and none is left for the host that does."""
    with place.shell() as shell:
        says(shell, "cp /bin/bash sh; chmod 6755 sh; ./sh -p -c 'id -u; id -ru' | uniq | wc -l", "1\n")
        for command in ("su -c id", "sudo -n id", "mount -t tmpfs x /tmp", "chown 0:0 sh", "mknod n c 1 3"):
            must(shell.run(f"{command} </dev/null", 5).code != 0, f"{command} succeeds")
        must(says(shell, "id -u").output != "0\n", "the user is root")
        left = (shell.sandbox.spec.folder / "sh").stat()
        must(left.st_uid != 0, "a setuid program of root lies in the workspace")


def process_limit(place: Place) -> None:
    """So many processes at once and no more, in each sandbox by itself."""
    with place.shell(processes=40) as one, place.shell(processes=40) as two:
        says(one, "for i in $(seq 20); do sleep 300 & done", None)
        for shell, least, most in ((one, 8, 20), (two, 28, 40)):
            count = forks(shell, 100)
            if count == 100 and place.backend.isolation != "full":
                raise Skipped("the number of processes is not limited")
            must(least < count < most, f"{count} processes were started under a limit of 40")


def training(place: Place) -> None:
    """What training programs use works: processes, threads, shared memory, locks, sockets of their own."""
    code = """
import multiprocessing, multiprocessing.shared_memory, threading, tempfile, subprocess, os, mmap, asyncio
def square(x): return x * x
if __name__ == "__main__":
    for method in ("fork", "spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            assert pool.map(square, range(4)) == [0, 1, 4, 9], method
    memory = multiprocessing.shared_memory.SharedMemory(create=True, size=1 << 26)
    memory.buf[-1] = 1
    memory.close(); memory.unlink()
    threads = [threading.Thread(target=square, args=(2,)) for _ in range(32)]
    [t.start() for t in threads]; [t.join() for t in threads]
    with tempfile.TemporaryFile() as file: file.write(b"x" * 1000000)
    queue = multiprocessing.Queue(); queue.put(1); assert queue.get() == 1
    assert subprocess.run(["true"]).returncode == 0
    asyncio.run(asyncio.sleep(0.01))
    print(os.cpu_count() > 0, os.getcwd(), os.path.expanduser("~"))
"""
    with place.shell() as shell:
        if "No connection" in shell.exec([shell.sandbox.interpreter, "-c", CONNECT]).output:
            code = code.replace(', "forkserver"', "")  # `landlock`, where sockets of others could be reached
        shell.write("train.py", code.encode())
        wanted = f"True {shell.workspace} {shell.sandbox.home}\n"
        says(shell, f"{shell.sandbox.interpreter} train.py", wanted, timeout=60)


def driver(place: Place) -> None:
    """The driver cannot be signalled, stopped or traced; the first to be killed for want of memory is the sandbox."""
    with place.shell() as shell:
        for name in ("KILL", "STOP", "TERM", "INT", "HUP", "SEGV", "USR1", "ALRM", "PIPE", "QUIT"):
            says(shell, f"kill -{name} $PPID; true", code=0)
        unwritable(shell, *(f"/proc/$PPID/{name}" for name in ("oom_score_adj", "coredump_filter", "comm")))
        says(shell, "cat /proc/self/oom_score_adj", "1000\n")
        says(shell, "pwd", f"{shell.workspace}\n")
        if place.backend.isolation == "full":
            says(shell, "hostname", "sandbox\n")


def first_limits(place: Place) -> None:
    """The limits and the scheduling of the driver cannot be set; one's own can."""
    code = """
import os, resource as r
driver = os.getppid()
for what in (r.RLIMIT_NOFILE, r.RLIMIT_FSIZE, r.RLIMIT_NPROC, r.RLIMIT_AS, r.RLIMIT_CPU):
    try:
        r.prlimit(driver, what, (0, 0))
        print("limit", what)
    except PermissionError:
        pass
for act, *numbers in [
    (os.setpriority, 0, driver, 10), (os.setpriority, 2, 0, 10), (os.sched_setaffinity, driver, [0]),
    (os.sched_setscheduler, driver, os.SCHED_IDLE, os.sched_param(0)), (os.sched_setparam, driver, os.sched_param(0)),
]:
    try:
        act(*numbers)
        print(act.__name__)
    except PermissionError:
        pass
r.prlimit(0, r.RLIMIT_CORE, (0, 0))
r.setrlimit(r.RLIMIT_NOFILE, (60, 60))
os.sched_setaffinity(0, os.sched_getaffinity(0))
os.nice(1)
print("end")
"""
    with place.shell() as shell:
        must((found := python(shell, code)) == "end\n", f"allowed: {found}")
        says(shell, "prlimit --pid $PPID --nofile=0:0 --fsize=0:0 --nproc=0:0; kill -9 $$", status="restarted")
        says(shell, "ulimit -n 50; sh -c 'ulimit -n; echo alive'", "50\nalive\n")


def masked_modules(place: Place) -> None:
    """Modules laid into the workspace do not reach the driver."""
    with place.shell() as shell:
        for name in ("os", "tarfile", "fnmatch", "re", "shutil", "encodings", "sitecustomize", "json", "_json"):
            shell.write(f"{name}.py", b"open('/tmp/shadowed', 'w').close(); raise SystemExit(1)\n")
        shell.write("out/f.csv", b"1")
        shell.pack(["out/*.csv"], 1000, 10)
        refused(FileNotFoundError, lambda: shell.read("/tmp/shadowed"), "a module of the workspace ran in the driver")


WALLS = (
    Case("walls: the first process and the host's", processes, full=True),
    Case("walls: two sandboxes are apart", sandboxes_apart, full=True),
    Case("walls: no files of the host", host_files, full=True),
    Case("walls: no packages, no mlgym, no shared data", packages, full=True),
    Case("walls: the table of mounts is neutral", mounts, full=True),
    Case("walls: the rest is read-only, and bounded", read_only, full=True),
    Case("walls: a full home", full, full=True),
    Case("walls: no network", network, walled=True),
    Case("walls: no odd sockets", sockets, walled=True),
    Case("walls: calls refused", calls, walled=True),
    Case("walls: no further user namespaces", user_namespaces, walled=True),
    Case("walls: no other user's rights", setuid, walled=True),
    Case("walls: the number of processes", process_limit, walled=True),
    Case("walls: training works within them", training, walled=True),
    Case("walls: the driver cannot be hurt", driver, walled=True),
    Case("walls: limits of the first process", first_limits, walled=True),
    Case("shadowed modules do not reach the driver", masked_modules),
)
