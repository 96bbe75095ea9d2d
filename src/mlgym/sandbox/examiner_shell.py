"""Cases of the examiner: the persistent shell."""

import os
import secrets
import threading
import time
from pathlib import Path

from mlgym.sandbox import Shell
from mlgym.sandbox.examiner import Case, Place, Skipped, must, python, says

Steps = tuple[tuple[str, str | None, dict[str, object]], ...]


def steps(name: str, *pairs: tuple[str, str | None] | tuple[str, str | None, dict[str, object]]) -> Case:
    """A case of commands with the output that each must have (None: any), and what else of `Ran` it must have."""

    def examine(place: Place) -> None:
        with place.shell() as shell:
            for command, output, *rest in pairs:
                wanted = dict(rest[0]) if rest else {}
                seconds = wanted.pop("timeout", 20)
                assert isinstance(seconds, int | float)
                says(shell, command, output, timeout=seconds, **wanted)

    return Case(name, examine)


def error(code: int) -> dict[str, object]:
    """What a command that fails with this code has."""
    return {"code": code}


RESTARTED: dict[str, object] = {"status": "restarted"}
TIMEOUT: dict[str, object] = {"status": "timeout", "code": None, "timeout": 0.5}
MARK = "x=kept; f() { echo $x; }; cd /tmp"
KEPT = ("f; pwd", "kept\n/tmp\n")


def hang(name: str, command: str, output: str | None = None) -> Case:
    """A command that never ends by itself: it is stopped, and the shell is as it was before."""
    return steps(name, (MARK, ""), (command, output, TIMEOUT), KEPT)


def private(shell: Shell) -> None:
    """Skip the case unless processes inside reach their own kind only: the driver is pid 1, or out of reach."""
    ours = says(shell, "readlink /proc/self/ns/pid; echo $PPID").output.split()
    if ours[0] != str(Path("/proc/self/ns/pid").readlink()) and ours[1] == "1":
        return
    known = {os.getpid(), os.getppid()} - {0}
    reach = f"for p in {' '.join(map(str, known))} $PPID; do kill -0 $p && echo $p; done 2>/dev/null; true"
    if says(shell, reach).output:
        raise Skipped("the processes of the host can be reached")


def long_output(place: Place) -> None:
    """Ten million bytes: both ends come back, the cut is said, the whole can be read."""
    with place.shell() as shell:
        ran = says(shell, "echo first; head -c 10000000 /dev/zero | tr '\\0' x; echo; echo last", cut=True, code=0)
        must(ran.output.startswith("first\n") and ran.output.endswith("x\nlast\n"), "an end of the output is missing")
        must(len(ran.output) < 101_000, f"{len(ran.output)} characters came back")
        whole = ran.output.partition("the whole is in ")[2].partition(" ")[0]
        says(shell, f"wc -c <{whole}", "10000012\n")


def flood(place: Place) -> None:
    """A gigabyte: stopped at the limit, in bounded memory."""
    with place.shell(output_max=200_000, output_kept=1000) as shell:
        ran = says(shell, "head -c 3000000 /dev/zero | tr '\\0' x")
        if "stopped" not in ran.output:
            raise Skipped("the limit on output does not hold")
        says(shell, "echo alive", "alive\n")
    with place.shell() as shell:
        before = says(shell, "grep VmHWM /proc/$PPID/status").output.split()[1]
        started = time.monotonic()
        ran = says(shell, "head -c 1000000000 /dev/zero | tr '\\0' x", cut=True)
        must("stopped" in ran.output and len(ran.output) < 101_000, "it was not stopped, or not cut")
        must(time.monotonic() - started < 10, "it took more than 10 seconds")
        after = says(shell, "grep VmHWM /proc/$PPID/status").output.split()[1]
        must(int(after) - int(before) < 20_000, f"the driver grew from {before} to {after} kB")


def forged(place: Place) -> None:
    """Answers written into every pipe that can be reached change nothing."""
    guess = r"""
import os, time
parent = os.getppid()
for pid in {parent, 1}:
    for fd in range(64):
        for text in (b"0 0\n", b"T 0\n", b"\n" + b"0" * 16 + b" 0\n", b'{"id": "", "code": 0}'):
            try:
                out = os.open(f"/proc/{pid}/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK)
                if os.readlink(f"/proc/{pid}/fd/{fd}").startswith(("pipe", "/home", "/tmp")):
                    os.write(out, text)
                os.close(out)
            except OSError:
                pass
time.sleep(0.3)
raise SystemExit(7)
"""
    with place.shell() as shell:
        shell.write("forge.py", guess.encode())
        started = time.monotonic()
        says(shell, f"{shell.sandbox.interpreter} forge.py", code=7)
        must(time.monotonic() - started > 0.3, "the command was taken to have ended before it did")
        says(shell, "echo alive", "alive\n", code=0)


def matched(place: Place) -> None:
    """Every one of many quick commands gets its own output and code."""
    with place.shell() as shell:
        for n in range(200):
            says(shell, f"echo {n}; (exit {n % 7})", f"{n}\n", code=n % 7)


def two(place: Place) -> None:
    """Two shells at once, each driven by two threads, do not mix."""
    wrong: list[str] = []

    def drive(shell: Shell, mark: str) -> None:
        try:
            for n in range(20):
                says(shell, f"echo {mark}{n}; cat mark", f"{mark}{n}\n{shell.cwd}\n")
        except Exception as failure:
            wrong.append(str(failure))

    with place.shell() as first, place.shell() as second:
        for shell in (first, second):
            shell.write("mark", (shell.cwd + "\n").encode())
        threads = [threading.Thread(target=drive, args=(s, m)) for s, m in ((first, "a"), (second, "b"), (first, "c"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        must(not wrong, "; ".join(wrong))


def background(place: Place) -> None:
    """Jobs that hold the output open delay nothing, and print into no later command's output."""
    with place.shell() as shell:
        started = time.monotonic()
        says(shell, "(sleep 0.3; echo late; sleep 300) & echo now")
        says(shell, "setsid sh -c 'trap \"\" HUP; echo daemon; sleep 300' & sleep 0.1")
        must(time.monotonic() - started < 3, "a background job held the command")
        says(shell, "sleep 0.5; echo mine", "mine\n")


def spared(place: Place) -> None:
    """A timeout stops what the command started, in the background too, and nothing older."""
    with place.shell() as shell:
        says(shell, "sleep 301 & old=$!")
        says(
            shell,
            "sleep 302 & echo $! >new; (setsid sleep 303 & echo $! >newer); sleep 304",
            timeout=0.5,
            status="timeout",
        )
        says(shell, "kill -0 $old && echo older lives", "older lives\n")
        says(shell, "for f in new newer; do kill -0 $(cat $f) 2>/dev/null && echo $f lives; done; true", "")


def signals(place: Place) -> None:
    """Programs start with the usual signals."""
    with place.shell() as shell:
        says(shell, "yes | head -1", "y\n", code=0)
        # 32 and 33 belong to the C library, whose posix_spawn (that of make, say) starts programs with them ignored
        says(shell, "set -- $(grep SigIgn /proc/self/status); echo $((0x$2 & ~(3 << 31)))", "0\n")
        ran = shell.exec(["grep", "SigIgn", "/proc/self/status"])
        must(int(ran.output.split()[1], 16) & ~(3 << 31) == 0, ran.output)


def killed_python(place: Place) -> None:
    """`pkill -9 python` does not reach the driver."""
    with place.shell() as shell:
        private(shell)
        says(
            shell,
            "x=1; pkill -9 python; pkill -9 -f python; for p in /proc/[0-9]*; do kill -9 ${p#/proc/}; done 2>/dev/null",
            status="restarted",
        )
        says(shell, "echo alive", "alive\n")


def killed_all(place: Place) -> None:
    """`kill -9 -1` costs the shell, not the sandbox."""
    with place.shell() as shell:
        private(shell)
        mark = f"3{secrets.randbelow(10**6):06}"
        says(shell, f"cd /tmp; sleep {mark} &")
        says(shell, "kill -9 -1; echo $?", timeout=5)
        says(shell, "sh -c 'kill -9 -1'; echo; sleep 1", status="restarted", timeout=5)
        says(shell, f"pwd; pgrep -fx 'sleep {mark}'", "/tmp\n", code=1)


def bomb(place: Place) -> None:
    """A fork bomb stays in its sandbox and is cleared away."""
    with place.shell(processes=64) as shell:
        private(shell)
        if forks(shell, 100) > 64:
            raise Skipped("the number of processes is not limited")
        shell.run("b() { b | b & }; b; sleep 60", 1)
        shell.run("true", 10)
        says(shell, "sleep 0.1; echo alive $(echo twice)", "alive twice\n", timeout=10)


def forks(shell: Shell, most: int) -> int:
    """How many processes can be started beside each other, at most so many; they are gone afterwards."""
    code = f"""
import os, signal, time
made = []
try:
    while len(made) < {most}:
        made.append(os.fork())
        if not made[-1]:
            time.sleep(60)
except BlockingIOError:
    pass
for pid in made:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
print(len(made))
"""
    return int(python(shell, code).split()[0])


def idle_death(place: Place) -> None:
    """A shell that is killed between two commands is replaced."""
    with place.shell() as shell:
        says(shell, "(sleep 0.1; kill -9 $$) & x=1")
        time.sleep(0.4)
        ran = shell.run("echo alive$x", 10)
        must(ran.output == "alive\n", f"{ran}")


def killer(place: Place) -> None:
    """Something that kills every shell as soon as it is there costs shells; the sandbox lives on."""
    code = (
        "import os, time; end = time.monotonic() + 1.5\n"
        "while time.monotonic() < end:\n try: os.kill(-1, 9)\n except OSError: pass\n"
    )
    with place.shell() as shell:
        private(shell)
        shell.write("killer.py", code.encode())
        started = time.monotonic()
        shell.run(f"setsid {shell.sandbox.interpreter} -I killer.py & sleep 0.3", 5)
        for _ in range(5):
            shell.run("echo alive", 5)
        time.sleep(max(0.0, started + 2.0 - time.monotonic()))
        answers(shell)


def thief(place: Place) -> None:
    """A job that reads and writes the pipe on which the shell tells of its commands' ends costs a shell at most."""
    code = (
        "import os, sys, time; time.sleep(0.3)\n"  # while a command runs, the shell has the pipe elsewhere
        "fd = os.open(f'/proc/{sys.argv[1]}/fd/9', os.O_RDWR | os.O_NONBLOCK); open('open', 'w')\n"
        "while True:\n try: os.write(fd, b'x'); os.read(fd, 65536)\n except BlockingIOError: pass\n"
    )
    with place.shell() as shell:
        shell.write("thief.py", code.encode())
        shell.run(f"timeout 30 {shell.sandbox.interpreter} -I thief.py $$ &", 1)
        time.sleep(0.8)
        must(shell.read("open") == b"", "the test's own thief does not run")
        for _ in range(20):  # until it has come before the driver once, after which it has the pipe of no shell
            if shell.run("echo alive", 1).status != "ok":
                break
        answers(shell)


def stuffed(place: Place) -> None:
    """A stopped shell whose input is full is replaced."""
    code = (
        "import os, sys, signal, time; shell = int(sys.argv[1]); os.kill(shell, signal.SIGSTOP)\n"
        "fd = os.open(f'/proc/{shell}/fd/0', os.O_RDWR | os.O_NONBLOCK)\n"
        "for size in (4096, 1):\n"
        " try:\n  while True: os.write(fd, b'\\n' * size)\n except BlockingIOError: pass\n"
    )
    with place.shell() as shell:
        shell.write("stuff.py", code.encode())
        says(shell, f"cd /tmp; (sleep 0.2; exec {shell.sandbox.interpreter} -I {shell.workspace}/stuff.py $$) &")
        time.sleep(0.7)
        says(shell, "echo lost", "", status="restarted", timeout=5)
        says(shell, "pwd", "/tmp\n")


def answers(shell: Shell) -> None:
    """The shell, or the one that replaces it, answers soon, and then as ever."""
    started = time.monotonic()
    shell.run("echo alive", 1)
    must(time.monotonic() - started < 12, "it took more than 12 seconds")
    says(shell, "echo alive", "alive\n", timeout=5)


def exact(place: Place) -> None:
    """Bytes that are not text come back as replacement characters, and hurt nothing."""
    with place.shell() as shell:
        says(shell, "printf 'a\\0b\\nc\\r\\n'", "a\0b\nc\r\n")
        says(shell, "printf '\\377\\376x'", "\ufffd\ufffdx")
        mark = secrets.token_hex(8)
        says(shell, f"head -c 300000 /dev/urandom; echo; echo {mark}")
        says(shell, "echo ä ∑", "ä ∑\n")


SHELL = (
    steps("the folder is kept", ("cd /tmp", ""), ("pwd", "/tmp\n", {"cwd": "/tmp"})),
    steps("variables are kept", ("x='a  b'; y=(1 2)", ""), ('echo "$x" ${y[1]}', "a  b 2\n")),
    steps("functions are kept", ("f() { echo in $1; }", ""), ("f it", "in it\n")),
    steps("exports are kept", ("export X=1", ""), ("sh -c 'echo $X'", "1\n")),
    steps(
        "aliases, options and umask are kept",
        ("alias a='echo aliased'; umask 027; set -f", ""),
        ("a *; umask", "aliased *\n0027\n"),
    ),
    steps(
        "jobs are kept",
        ("sleep 300 & sleep 0.05", None),
        ("jobs | grep -c sleep", "1\n"),
        ("kill %1; wait; jobs | grep -c Running", "0\n", error(1)),
    ),
    steps("the last status is kept", ("(exit 5)", "", error(5)), ("echo $?", "5\n"), ("echo $?", "0\n")),
    steps("open files are kept", ("echo text >f; exec 5<f", ""), ("cat <&5", "text\n")),
    steps("here-documents", ("cat <<E\none $((1+1))\nE\ncat <<'E'\n$x\nE", "one 2\n$x\n")),
    steps("an unended here-document", ("cat <<E\none", None), ("echo alive", "alive\n")),
    steps("unbalanced quotes", ("echo 'one", None, error(2)), ('echo "two', None, error(2)), ("echo alive", "alive\n")),
    steps("syntax errors", ("if; then )", None, error(2)), ("for", None, error(2)), ("echo alive", "alive\n")),
    steps("several lines and a comment", ("a=1 # one\n\nif [ $a = 1 ]\nthen echo yes; fi # end", "yes\n")),
    steps("a long command", (f"x={'y' * 200_000}; echo ${{#x}}", "200000\n")),
    steps(
        "exit", ("cd /tmp; x=1", ""), ("echo out; exit 3", "out\n", RESTARTED | error(3)), ("pwd; echo $x", "/tmp\n\n")
    ),
    steps("exec of a program", ("exec echo gone", "gone\n", RESTARTED), ("echo alive", "alive\n")),
    steps("exec of a redirection", ("exec >/dev/null 2>&1 </dev/null 9>&-", ""), ("echo alive", "alive\n")),
    steps("set -e", ("set -e; echo a; false; echo b", "a\n", RESTARTED | error(1)), ("false; echo alive", "alive\n")),
    steps("set -e without a failure", ("x=1; set -e", ""), ("true", ""), ("false || echo $x", "1\n"), ("set +e", "")),
    steps("set -u and set -x", ("set -u; echo $nothing", None), ("set -x; echo a", None), ("set +x; echo alive", None)),
    steps("kill -9 of the shell", ("cd /tmp", ""), ("kill -9 $$", "", RESTARTED), ("pwd", "/tmp\n")),
    steps(
        "a prompt command and traps",
        ("PROMPT_COMMAND='echo prompt'; PS1=prompt", ""),
        ("echo a", "a\n"),
        ("trap 'echo bye' EXIT; exit", None, RESTARTED),
    ),
    steps("the shell's own folder removed", ("mkdir d; cd d; rmdir ../d", ""), ("cd ..; echo alive", "alive\n")),
    steps("background output is no terminal's", ("[ -t 0 ] || [ -t 1 ] || echo none", "none\n")),
    Case("bytes that are not text", exact),
    Case("ten million bytes of output", long_output),
    Case("a gigabyte of output", flood),
    Case("background jobs that hold the output", background),
    steps("readers of standard input", ("cat; read x; sort; echo $?", "0\n", {"timeout": 3})),
    hang("hang: sleep", "sleep 300", ""),
    hang("hang: a loop of the shell", "while :; do :; done", ""),
    hang("hang: signals ignored", "sh -c 'trap \"\" INT TERM HUP; echo in; sleep 300'", "in\n"),
    hang("hang: a handler that goes on", "bash -c 'trap \"echo no\" INT TERM; while :; do sleep 300; done'"),
    hang("hang: signals ignored by the shell itself", "(trap '' INT; sleep 300); while sleep 300; do :; done"),
    hang("hang: the shell stops itself", "kill -STOP $$; sleep 300"),
    hang("hang: a pipeline", "sleep 300 | sleep 301 | cat", ""),
    steps("a timeout keeps what was printed", ("echo part; sleep 300", "part\n", TIMEOUT), ("echo alive", "alive\n")),
    Case("a timeout spares older jobs only", spared),
    Case("forged answers", forged),
    Case("quick commands are matched with their answers", matched),
    Case("two shells at once", two),
    Case("programs start with the usual signals", signals),
    Case("a shell killed while idle", idle_death),
    Case("pkill -9 python", killed_python),
    Case("kill -9 -1", killed_all),
    Case("a fork bomb", bomb),
    Case("every shell is killed at once", killer),
    Case("the shell's reports are stolen", thief),
    Case("the shell's input is stuffed", stuffed),
)
