"""The budgets of the house, measured: python benchmarks/run.py [--write]. Each with the machine's own floor beside it.

Times are medians over the repetitions named; these machines are noisy, so the ratio to the floor measured in the same
run says more than the milliseconds. `--write` records the table in benchmarks/results.md.
"""

import argparse
import datetime
import itertools
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import distribution
from pathlib import Path

from mlgym.cache import cache_dir
from mlgym.env import ResearchEnv
from mlgym.grading import Grader
from mlgym.grading.prepare import prepare
from mlgym.records import Action
from mlgym.sandbox import SandboxSpec, Shell, choose, open_shell, scratch
from mlgym.task import load_task
from mlgym.watch import CHOICE

Row = tuple[str, str, str, str]
ROOT = Path(__file__).parent.parent


def times(act: Callable[[], object], n: int) -> list[float]:
    """Seconds of `n` calls, after one that does not count."""
    act()
    out = []
    for _ in range(n):
        began = time.perf_counter()
        act()
        out.append(time.perf_counter() - began)
    return out


def median_ms(act: Callable[[], object], n: int) -> float:
    """The median of `n` calls in milliseconds."""
    return statistics.median(times(act, n)) * 1000


def bare_bash(command: str, n: int) -> float:
    """Median ms of a command sent down a bare pipe to bash, until its end is told on another pipe: the floor."""
    read, write = os.pipe()
    bash = subprocess.Popen(
        ["bash", "--norc", "--noprofile"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=[write], bufsize=0
    )
    assert bash.stdin

    def once() -> None:
        assert bash.stdin
        bash.stdin.write(f"{command}; echo >&{write}\n".encode())
        os.read(read, 10)

    result = median_ms(once, n)
    bash.stdin.close()
    bash.wait()
    os.close(read)
    os.close(write)
    return result


def shell_rows(backend: str) -> list[Row]:
    """Commands, files, a flood and memory of one sandbox."""
    rows: list[Row] = []
    with scratch(cache_dir() / "scratch") as place:
        folder = place / "w"
        folder.mkdir()
        shell = open_shell(backend, SandboxSpec(folder))
        shell.start()
        for command in ("true", "ls /"):
            floor, ours = bare_bash(command, 300), median_ms(lambda c=command: shell.run(c, 10), 300)  # type: ignore[misc]
            rows.append(
                (f"command `{command}`, overhead", f"{ours - floor:.2f} ms", "2 ms", f"bare pipe {floor:.2f} ms")
            )
        flood = "head -c 10000000 /dev/zero | tr '\\0' 'x'"
        floor = median_ms(lambda: subprocess.run(["bash", "-c", flood], stdout=subprocess.PIPE, check=True), 5)
        ours = median_ms(lambda: shell.run(flood, 60), 5)
        rows.append(("10 MB of output", f"{ours / 1000:.3f} s", "0.2 s", f"to a pipe {floor / 1000:.3f} s"))
        shell.stop()
    return rows


def look_rows(backend: str) -> list[Row]:
    """What it takes beside a command to look at what it changed, in small and large workspaces."""
    six = "for i in 1 2 3 4 5 6; do seq 100 > f$i.py; done"
    data = "mkdir {1..250}; for i in {1..250}; do touch $i/{1..20}.png; done"
    rows: list[Row] = []
    for what, make in (
        ("6 files", six),
        ("5,000 more in 250 folders", f"{data}; {six}"),
        ("5,000 sources", "touch {1..5000}.py; seq 9 > f1.py"),
    ):
        with scratch(cache_dir() / "scratch") as place:
            (place / "w").mkdir()
            with open_shell(backend, SandboxSpec(place / "w")) as shell:
                shell.run(f"{make}; sleep 0.1", 60)
                looked = itertools.count(1)

                def look(shell: Shell = shell, looked: Iterator[int] = looked) -> None:
                    n = next(looked)
                    shell.look(n - 1, n, [], {**CHOICE, "names": ()})

                took = []
                for command in ("true", "echo 1 >> f1.py"):
                    pairs = [(*times(lambda c=command: shell.run(c, 10), 1), *times(look, 1)) for _ in range(100)]  # type: ignore[misc]
                    took.append([statistics.median(each) * 1000 for each in zip(*pairs, strict=True)])
        (plain, idle), (changing, busy) = took
        beside = f"the commands {plain:.2f} / {changing:.2f} ms"
        rows.append((f"look after no change / a change, {what}", f"{idle:.2f} / {busy:.2f} ms", "", beside))
    return rows


def memory_rows(backend: str, n: int = 20) -> list[Row]:
    """Memory of an idle sandbox, from the machine's free memory."""

    def available() -> float:
        line = next(x for x in Path("/proc/meminfo").read_text().splitlines() if x.startswith("MemAvailable"))
        return int(line.split()[1]) / 1000

    with scratch(cache_dir() / "scratch") as place:
        before, shells = available(), []
        for i in range(n):
            (place / str(i)).mkdir()
            shells.append(open_shell(backend, SandboxSpec(place / str(i))))
            shells[-1].start()
        used = (before - available()) / n
        for shell in shells:
            shell.stop()
    return [("idle sandbox", f"{used:.1f} MB", "20 MB", f"mean of {n}")]


def env_rows(backend: str) -> list[Row]:
    """Reset with prepared data, a step with a file tool."""
    rows: list[Row] = []
    for name in ("battle-of-sexes", "house-price"):
        env = ResearchEnv(name, sandbox=backend)
        env.reset(seed=0)
        rows.append((f"reset {name}", f"{median_ms(lambda e=env: e.reset(seed=0), 20):.0f} ms", "50 ms", ""))  # type: ignore[misc]
        file = env.task.baseline.files[0]
        view = median_ms(lambda e=env, f=file: e.step(Action(tool="view", args={"path": f})), 100)  # type: ignore[misc]
        big = Action(tool="create", args={"path": "x.py", "content": "x = 1\n" * 200})
        write = median_ms(lambda e=env, b=big: e.step(b), 100)  # type: ignore[misc]
        rows.append((f"step view / create ({name})", f"{view:.1f} / {write:.1f} ms", "5 ms", ""))
        env.close()
    return rows


def grading_rows(backend: str) -> list[Row]:
    """Grading a table cold and warm, and 100 gradings of 10,000 games."""
    rows: list[Row] = []
    for name, budget in (("house-price", "0.3 s / 30 ms"), ("battle-of-sexes", "")):
        prepared = prepare(load_task(name))
        with tempfile.TemporaryDirectory() as folder:
            files = baseline_files(name, backend, Path(folder))

            def cold(prepared: object = prepared, files: Path = files) -> None:
                with Grader(prepared, backend) as grader:  # type: ignore[arg-type]
                    assert grader.grade(files, "test").valid

            cold_ms = median_ms(cold, 5)
            with Grader(prepared, backend) as grader:
                warm = times(lambda g=grader, f=files: g.grade(f, "test"), 100)  # type: ignore[misc]
        what = "table of 438 rows" if name == "house-price" else "10,000 games"
        seen = f"{cold_ms / 1000:.2f} s / {statistics.median(warm) * 1000:.0f} ms"
        rows.append((f"grade {what}, cold / warm", seen, budget, name))
        if name != "house-price":
            rows.append(("100 gradings of 10,000 games", f"{sum(warm):.1f} s", "", name))
    return rows


def baseline_files(name: str, backend: str, into: Path) -> Path:
    """The submission that a task's baseline makes."""
    env = ResearchEnv(name, sandbox=backend)
    env.reset(seed=0)
    if env.task.baseline.command:
        env.step(Action(tool="bash", args={"command": env.task.baseline.command}))
    attempt = env.finish("submitted")
    for file in attempt.files:
        (into / file).write_bytes((env.attempts.frozen[attempt.n] / file).read_bytes())
    env.close()
    return into


def start_rows(_: str) -> list[Row]:
    """The command line's start, the import, the size of the installation."""
    python = median_ms(lambda: subprocess.run([sys.executable, "-c", ""], check=True), 10)
    run = [sys.executable, "-m", "mlgym", "--help"]
    help_ms = median_ms(lambda: subprocess.run(run, check=True, stdout=subprocess.DEVNULL), 10)
    bare = median_ms(lambda: subprocess.run([sys.executable, "-c", "import mlgym"], check=True), 10)
    rows: list[Row] = [
        ("mlgym --help", f"{help_ms / 1000:.2f} s", "0.3 s", f"bare python {python / 1000:.3f} s"),
        ("import mlgym", f"{(bare - python) / 1000:.3f} s", "0.2 s", "over bare python"),
        ("core install", f"{len(closure('mlgym-env'))} packages", "35", "with mlgym-env itself"),
    ]
    return rows


def closure(name: str) -> set[str]:
    """The distributions that a plain install of `name` brings on this machine."""
    from packaging.requirements import Requirement

    seen: set[str] = set()
    todo = [name]
    while todo:
        current = todo.pop().lower().replace("_", "-")
        if current in seen:
            continue
        seen.add(current)
        for text in distribution(current).requires or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                todo.append(requirement.name)
    return seen


def main() -> None:
    """Print the table, and record it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="record the table in benchmarks/results.md")
    parser.add_argument("--sandbox", default="auto")
    args = parser.parse_args()
    backend = choose(args.sandbox).name
    lines = ["| what | measured | budget | beside it |", "|---|---|---|---|"]
    print("\n".join(lines))
    for part in (shell_rows, look_rows, memory_rows, env_rows, grading_rows, start_rows):
        for row in part(backend):
            lines.append(f"| {' | '.join(row)} |")
            print(lines[-1], flush=True)
    if args.write:
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
        ).stdout
        machine = (
            f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
        )
        user = "root" if os.getuid() == 0 else "an ordinary user"
        head = f"Commit {commit.strip()}, {datetime.date.today()}, {backend}, {user}, {machine}."
        text = "# Measured\n\n`make bench` writes this file.\n\n" + head + "\n\n" + "\n".join(lines) + "\n"
        (ROOT / "benchmarks" / "results.md").write_text(text)


if __name__ == "__main__":
    main()
