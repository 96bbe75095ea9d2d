"""How far a run is, by its folder: while it runs, here or elsewhere, after a kill, at its end; and cancelling it."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mlgym import beside
from mlgym.bench import run_grid
from mlgym.board import Board, duration, line
from mlgym.driver import BEAT_S, Driver, plan, stop_word, word
from mlgym.launchers import in_process
from mlgym.records import Action, Cost, EpisodeSpec, Limits, Observation, Reply, Result, Step
from mlgym.status import Follow, Lines, Seen, Status, drivers, here
from mlgym.store import Episode, episode_folder

ROOT = Path(__file__).parent.parent
GUESS = str(ROOT / "examples" / "guess")


def spec(seed: int, agent: str = "nop") -> EpisodeSpec:
    return EpisodeSpec(task=GUESS, agent=agent, seed=seed, sandbox="local", limits=Limits(steps=5))


def step(n: int, value: float | None = None) -> Step:
    observation = Observation(text="x", validation=None if value is None else {"closeness": value})
    return Step(n=n, action=Action(tool="bash"), observation=observation, command_s=2.0)


def seen(run: Path) -> Status:
    follow = Follow(run)
    follow.look()
    return follow.status()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of six cells: one scored, one by its own fault, one lost, one with two steps, one cancelled, one new."""
    folders = [episode_folder(tmp_path, spec(seed)) for seed in range(6)]
    plan(tmp_path, {folder.relative_to(tmp_path).as_posix(): ("closeness", "maximize", "nop") for folder in folders})
    cost = Cost(money=0.5, command_s=10.0)
    good = Result(ended="submitted", metric="closeness", best={"closeness": 0.5}, cost=cost)
    ends = [good, good.changed(boundary="agent", ended="error", best={"closeness": 0.25}), None, None, None]
    for seed, end in enumerate(ends):
        store = Episode.open(folders[seed], spec(seed))
        if end:
            store.finish(end)
        if seed == 3:
            store.add_step(step(1, 0.1))
            store.add_call([], [], Reply(text="", money=0.25))
            store.add_step(step(2, 0.4))
        store.close()
    beside.add_try(folders[2], "sandbox", "It did not start.")
    beside.cancel(folders[4])
    return tmp_path


def test_every_state_is_told_apart(run: Path) -> None:
    now = seen(run)
    counts = (now.done, now.failed, now.missing, now.waiting, now.cancelled, now.running, now.total)
    assert counts == (1, 1, 1, 2, 1, 0, 6) and (now.state, now.money) == ("stopped", 1.25)
    assert now.lost == [{"episode": "guess/nop/2", "tries": 1, "why": "It did not start."}]
    [row] = now.tasks
    assert (row.task, row.best, row.method, row.ended, row.total, row.validation) == ("guess", 0.5, "nop", 2, 6, None)
    assert now.seconds_left is None
    assert line(now) == "0 running, 1 done, 1 failed, 1 missing, 1 cancelled, 2 waiting of 6; 1.25 dollars"


def test_what_runs_is_told_by_its_driver_and_a_killed_one_tells_nothing(run: Path) -> None:
    with Driver(run) as driver:
        driver.runs(["guess/nop/3"])
        now = seen(run)
        assert (now.state, now.running, now.now, now.tasks[0].validation) == ("running", 1, ["guess/nop/3"], 0.4)
        assert now.seconds_left == 6.0 + 10.0 + 10.0, "the mean of the ended, less what it has had"
        told = json.loads(driver.path.read_text())
        driver.path.write_text(json.dumps({**told, "pid": 2**22 + 1}))
        assert seen(run).state == "stopped"
        driver.path.write_text(json.dumps({**told, "boot": "another machine's"}))
        assert seen(run).state == "running"
        with driver._lock:  # no sign of life between the two lines
            old = time.time() - 100
            os.utime(driver.path, (old, old))
            assert [lives for _, _, lives in drivers(run)] == [False]
        end = time.monotonic() + 20 * BEAT_S
        while time.time() - driver.path.stat().st_mtime > 90 and time.monotonic() < end:
            time.sleep(0.05)
        assert seen(run).state == "running", "it gives signs of life"
        shutil.rmtree(run / "drivers")
        while not driver.path.exists() and time.monotonic() < end:
            time.sleep(0.05)
        assert seen(run).state == "running", "and again where it was taken for dead"
    assert not (run / "drivers").exists()


def test_words_of_drivers_that_died_are_taken_away(run: Path) -> None:
    (run / "drivers").mkdir()
    for name, pid in (("dead", 2**22 + 1), ("alive", os.getpid())):
        (run / "drivers" / f"{name}.json").write_text(json.dumps({**here(), "pid": pid, "running": []}))
    (run / "drivers" / "torn.json").write_text("{")
    with Driver(run):
        assert sorted(path.name for path, *_ in drivers(run) if path.stem in ("dead", "alive")) == ["alive.json"]


def test_episodes_hear_why_they_must_stop(run: Path) -> None:
    with Driver(run) as driver:
        folder = run / "guess/nop/3"
        assert (stop_word(run, driver.name, folder), word(run, driver.name, "broke")) == ("", "")
        driver.broke("No money.")
        driver.stop("Enough.")
        driver.stop("Later.")
        assert (stop_word(run, driver.name, folder), word(run, driver.name, "broke")) == ("Enough.", "No money.")
        assert "cancelled" in stop_word(run, driver.name, run / "guess/nop/4")
    assert "has ended" in stop_word(run, driver.name, folder) and stop_word(run, "", folder) == ""


def test_it_is_told_while_another_thread_looks(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    follow, state = Follow(run), Seen.state
    follow.look()

    def slow(self: Seen, running: bool) -> str:
        follow.cells.setdefault("guess/nop/9", Seen(run, "guess/nop/9"))
        return state(self, running)

    monkeypatch.setattr(Seen, "state", slow)
    assert (follow.status([]).total, follow.status([]).total) == (6, 7)


def test_only_what_is_new_is_read(tmp_path: Path) -> None:
    path, rows = tmp_path / "x.jsonl", []
    lines = Lines(path)
    assert lines.look() == (False, [])
    for written, expected in (
        (b"one\ntw", [b"one"]),
        (b"o\n", [b"two"]),
        (b"", []),
        (b"three\nfour\n", [b"three", b"four"]),
    ):
        with path.open("ab") as file:
            file.write(written)
        rows.append(lines.look()[1])
        assert rows[-1] == expected
    other = tmp_path / "y"
    other.write_bytes(b"anew\n")
    other.replace(path)
    assert lines.look() == (True, [b"anew"])
    path.unlink()
    assert lines.look() == (True, [])


def test_what_is_no_file_has_no_lines(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("a line\n")
    (tmp_path / "link").symlink_to(tmp_path / "text")
    assert [Lines(tmp_path / name).look()[1] for name in ("folder", "link", "text")] == [[], [], [b"a line"]]


def test_a_followed_run_is_as_a_fresh_look_at_every_moment(tmp_path: Path) -> None:
    follow, agent = Follow(tmp_path), f"{__name__}:climber"
    specs = [spec(0, agent), spec(1), spec(2, agent)]
    told = []

    def look(*_: object) -> None:
        follow.look()
        told.append((follow.status(), seen(tmp_path)))

    for _ in run_grid(specs, tmp_path, launcher=in_process, on_step=look):
        look()
    assert len(told) == 3 + 1 + 3 + 3 and all(a == b for a, b in told)
    assert [now.running for now, _ in told].count(1) == 7 and told[-1][0].done == 3
    follow.look()
    assert follow.status().state == "complete" and follow.status().seconds_left == 0.0


def climber(brief: Any, model: Any) -> Iterator[Action]:
    """Guesses twice."""
    yield Action(tool="bash", args={"command": "echo 40 > guess.txt"})
    yield Action(tool="validate")
    yield Action(tool="submit")


def test_records_that_cannot_be_read_do_not_stop_it(run: Path) -> None:
    (run / "guess/nop/0/result.json").write_text('{"scored": tru')
    (run / "guess/nop/1/result.json").write_text('{"scored": true}')
    (run / "guess/nop/3/steps.jsonl").write_bytes(b'nonsense\n{"n": 1}\n{"torn')
    (run / "guess/nop/2/failed.jsonl").write_bytes(b'\n[1]\n{"why": "later"}\n{"torn')
    with (run / "cells.jsonl").open("a") as file:
        file.write('nonsense\n{"cell": 1}\n')
    now = seen(run)
    assert (now.done, now.failed, now.missing, now.waiting) == (0, 0, 1, 4)
    assert now.lost[0]["why"] == "later"
    beside.add_try(run / "guess/nop/2", "sandbox", "again")
    assert [row["why"] for row in beside.tries(run / "guess/nop/2")] == ["later", "again"]


def test_a_run_of_an_older_version_is_told_of_too(run: Path) -> None:
    (run / "cells.jsonl").unlink()
    now = seen(run)
    assert (now.total, now.done, now.tasks[0].best) == (5, 1, 0.5)


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (59, "59 s"), (61, "1 min"), (7260, "2 h 1 min"), (200_000, "2 d 7 h")]
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_the_board(run: Path) -> None:
    follow = Follow(run)
    follow.look()
    board = Board(lambda: follow.status(["guess/nop/3"]))
    for n in range(5):
        board.notes.append(f"note {n}\x1b[2J")
    out = Console(width=80, height=12, record=True, file=io.StringIO())
    out.print(board)
    said = out.export_text().splitlines()
    assert said[0].rstrip() == "1 running, 1 done, 1 failed, 1 missing, 1 cancelled, 1 waiting of 6; 1.25"
    assert said[3].split() == ["guess", "2/6", "0.5000", "nop", "0.4000"]
    assert [row.rstrip() for row in said[4:]] == [f"note {n}\N{REPLACEMENT CHARACTER}[2J" for n in (2, 3, 4)]
    assert line(follow.status(["guess/nop/3"])).endswith("1.25 dollars, about 26 s left")


def mlgym(*args: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "mlgym", *map(str, args)], capture_output=True, text=True)


def test_the_verbs(run: Path) -> None:
    told = json.loads(mlgym("status", run, "--json").stdout)
    assert (told["done"], told["state"], told["tasks"][0]["best"]) == (1, "stopped", 0.5)
    said = mlgym("status", run, "-f").stdout
    assert said == "0 running, 1 done, 1 failed, 1 missing, 1 cancelled, 2 waiting of 6; 1.25 dollars\n"
    said = mlgym("status", run).stdout
    assert "missing: guess/nop/2" in said and "best, test" in said
    for args, words in (
        (("status", run / "nothing"), "no run"),
        (("cancel", run, "guess/nobody/0"), "TASK/METHOD/SEED"),
        (("cancel", run / "nothing"), "no run"),
    ):
        ran = mlgym(*args)
        assert ran.returncode == 2 and words in ran.stderr and ran.stderr.count("\n") == 1


def test_a_running_run_is_followed_and_cancelled_from_another_process(tmp_path: Path) -> None:
    run, script = tmp_path / "r", tmp_path / "script.json"
    wait = {"calls": [{"name": "bash", "arguments": {"command": "sleep 0.3"}}], "money": 0.5}
    script.write_text(json.dumps([wait] * 200))
    command = ["run", GUESS, "-m", f"scripted/{script}", "-k", 2, "-n", 2, "-o", run, "--sandbox", "local"]
    ran = subprocess.Popen(
        [sys.executable, "-m", "mlgym", *map(str, command), "--money", "1000"], stderr=subprocess.PIPE, text=True
    )
    follow = subprocess.Popen(
        [sys.executable, "-c", FOLLOW.format(run=str(run))], stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert follow.stdout
    while "2 running" not in (row := follow.stdout.readline()):
        assert row, "it ended without a running episode"
    cancelled = mlgym("cancel", run)
    assert "--undo" in cancelled.stdout
    _, why = ran.communicate(timeout=30)
    assert ran.returncode == 75
    assert why.splitlines()[-1].endswith(f"'mlgym cancel {run} --undo' lets it go on.")
    assert '"state": "cancelled"' in mlgym("status", run, "--json").stdout
    follow.communicate(timeout=30)
    again = mlgym(*command, "--money", "1000")
    assert again.returncode == 75 and "--undo" in again.stderr
    assert "no longer cancelled" in mlgym("cancel", run, "--undo").stdout and not beside.cancelled(run)


FOLLOW = """
import sys, time
from pathlib import Path
while not list(Path({run!r}).glob("drivers/*.json")):
    time.sleep(0.05)
sys.argv = ["mlgym", "status", {run!r}, "-f", "--every", "0.1"]
from mlgym.cli import main
main()
"""


def test_a_killed_run_is_stopped_and_not_running(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text(json.dumps([{"calls": [{"name": "bash", "arguments": {"command": "sleep 30"}}]}]))
    command = ["run", GUESS, "-m", f"scripted/{script}", "-k", "2", "-n", "2", "-o", str(tmp_path / "r")]
    ran = subprocess.Popen([sys.executable, "-m", "mlgym", *command, "--sandbox", "local"], stdout=subprocess.DEVNULL)
    while len(list(tmp_path.glob("r/*/*/*/calls.jsonl"))) < 2 and ran.poll() is None:
        time.sleep(0.02)
    assert seen(tmp_path / "r").state == "running"
    ran.send_signal(signal.SIGKILL)
    ran.wait()
    now = seen(tmp_path / "r")
    assert (now.state, now.running, now.waiting) == ("stopped", 0, 2)
