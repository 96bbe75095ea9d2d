"""Grids: what fails is tried again and kept, what is missing is run, and stopping in every way there is."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlgym import beside, live
from mlgym.bench import Job, Launcher, Outcome, Patience, Report, RunEpisode, run_grid, usual
from mlgym.episode import run_episode
from mlgym.errors import InUse, ModelError, Stopped, UsageError
from mlgym.halt import Halt
from mlgym.launchers import in_process, threads
from mlgym.records import Action, EpisodeSpec, Failure, Limits, Result
from mlgym.status import Follow
from mlgym.store import Episode, episode_folder

ROOT = Path(__file__).parent.parent
GUESS = str(ROOT / "examples" / "guess")
HERE = "tests.test_bench" if __name__.startswith("tests.") else "test_bench"
SHORT = "The {} dollars of the run are spent, or do not reach for what is left; the same command with more goes on."
QUICK = Patience(tries=4, first_s=0.02)


def spec(seed: int = 0, agent: str = "nop", **fields: Any) -> EpisodeSpec:
    made = {"task": GUESS, "agent": agent, "sandbox": "local", "seed": seed, "limits": Limits(steps=9), **fields}
    return EpisodeSpec.model_validate(made)


def flaky(messages: Any, tools: Any) -> dict[str, Any]:
    """A provider that fails while the file MLGYM_TEST_DOWN has lines, one for each call, and costs a dollar a call."""
    down = Path(os.environ["MLGYM_TEST_DOWN"])
    rows = down.read_text().splitlines() if down.exists() else []
    number = sum(message.role == "assistant" for message in messages)
    if number and rows:
        down.write_text("\n".join(rows[1:]))
        raise ModelError(f"The provider is down ({rows[0]}).", lasting=rows[0] == "lasting")
    calls = [("bash", {"command": "echo 41 > guess.txt"}), ("validate", {}), ("submit", {})][number]
    return {"calls": [{"name": calls[0], "arguments": calls[1]}], "money": 1.0}


def modelled(seed: int = 0, agent: str = "react", **fields: Any) -> EpisodeSpec:
    return spec(seed, agent, model=f"scripted/{HERE}:flaky", **fields)


@pytest.fixture
def down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLGYM_TEST_DOWN", str(tmp_path / "down"))
    return tmp_path / "down"


def grid(specs: list[EpisodeSpec], run: Path, launcher: Launcher = in_process, **fields: Any) -> list[Outcome]:
    return [outcome for _, outcome in run_grid(specs, run, launcher=launcher, **{"patience": QUICK, **fields})]


def test_what_a_provider_failed_is_tried_again_and_every_failed_try_is_kept(tmp_path: Path, down: Path) -> None:
    down.write_text("one\ntwo")
    said: list[str] = []
    [result] = grid([modelled()], tmp_path / "r", say=lambda spec, note: said.append(note))
    assert isinstance(result, Result) and (result.scored, result.steps, result.cost.calls) == (True, 3, 3)
    folder = episode_folder(tmp_path / "r", modelled())
    tries = beside.tries(folder)
    assert [(row["n"], row["boundary"], row["why"]) for row in tries] == [
        (1, "model", "The provider is down (one)."),
        (2, "model", "The provider is down (two)."),
    ]
    assert all(row["result"]["scored"] is False and len(row["steps"]) == 1 and row["time"] for row in tries)
    assert [step.n for step in Episode.read(folder).steps()] == [1, 2, 3]
    assert len([note for note in said if "tried again (try" in note]) == 2


def test_a_cell_that_the_infrastructure_lost_is_missing_and_the_next_command_goes_on(
    tmp_path: Path, down: Path
) -> None:
    down.write_text("\n".join("12345"))
    report = Report()
    outcomes = grid([modelled(), spec(1)], tmp_path, report=report, patience=Patience(tries=2, first_s=0.01))
    assert sorted(outcome.boundary for outcome in outcomes) == ["", "model"]
    [(name, why)] = report.lost.items()
    assert "down (2)" in why and not report.stopped
    follow = Follow(tmp_path)
    follow.look()
    status = follow.status()
    assert (status.done, status.missing, status.state, status.lost[0]["episode"]) == (1, 1, "stopped", name)
    down.write_text("")
    assert [outcome.boundary for outcome in grid([modelled(), spec(1)], tmp_path)] == ["", ""]
    assert len(beside.tries(tmp_path / name)) == 2


def test_what_lasts_is_not_tried_again(tmp_path: Path, down: Path) -> None:
    down.write_text("lasting\nother")
    [result] = grid([modelled()], tmp_path)
    assert isinstance(result, Result) and not result.scored and result.lasting
    assert down.read_text() == "other"


def test_a_sandbox_that_does_not_start_is_kept_as_a_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome = RunEpisode(tmp_path / "r", governed=False)(spec(sandbox="docker"))
    assert isinstance(outcome, Failure) and outcome.boundary == "sandbox"
    [row] = beside.tries(episode_folder(tmp_path / "r", spec(sandbox="docker")))
    assert (row["boundary"], row["why"], row["result"]) == ("sandbox", outcome.why, None)


def failing(times: int) -> Launcher:
    """A launcher whose workers lose the first episodes."""
    left = [times]

    def launch(job: Job, specs: Iterable[EpisodeSpec | None]) -> Iterator[tuple[EpisodeSpec, Outcome]]:
        for each in specs:
            if each is None:
                time.sleep(0.01)
            elif left[0]:
                left[0] -= 1
                yield each, Failure(boundary="sandbox", why="The worker was lost.")
            else:
                yield each, job(each)

    return launch


def test_after_eight_in_a_row_there_are_probes_until_it_works_again(tmp_path: Path) -> None:
    said: list[str] = []
    patience = Patience(tries=9, first_s=0.001, probe_s=0.05)
    outcomes = grid([spec(n) for n in range(3)], tmp_path, failing(10), patience=patience, tell=said.append)
    assert [outcome.boundary for outcome in outcomes] == [""] * 3
    assert "the sandbox local failed 8 times in a row (The worker was lost)" in said[0]
    assert said[1] == "the sandbox local works again."


def wrong(brief: Any, model: Any) -> Iterator[Action]:
    """Fails by its own fault, unless the file MLGYM_TEST_DOWN is gone."""
    yield Action(tool="bash", args={"command": "echo 30 > guess.txt"})
    if Path(os.environ["MLGYM_TEST_DOWN"]).exists():
        raise ValueError("oops")
    yield Action(tool="submit")


def test_redo_runs_again_what_an_error_ended_and_keeps_the_old(tmp_path: Path, down: Path) -> None:
    down.touch()
    specs, run = [spec(0, f"{HERE}:wrong"), spec(1)], tmp_path / "r"
    first = grid(specs, run)
    assert [outcome.boundary for outcome in first] == ["agent", ""] == [o.boundary for o in grid(specs, run)]
    down.unlink()
    nop = episode_folder(run, specs[1])
    before = nop.joinpath("result.json").stat().st_mtime_ns
    assert [outcome.boundary for outcome in grid(specs, run, redo=["error"])] == ["", ""]
    assert nop.joinpath("result.json").stat().st_mtime_ns == before
    [old] = (run / "aside").glob("*/*/0-1")
    assert (kept := Episode.read(old).result) and kept.boundary == "agent"
    grid(specs, run, redo=[nop.relative_to(run).as_posix()])
    assert nop.joinpath("result.json").stat().st_mtime_ns > before
    for stranger in ("guess/nobody/0", str(tmp_path)):
        with pytest.raises(UsageError, match="--redo takes"):
            grid(specs, run, redo=[stranger])


def test_what_another_process_runs_is_not_put_aside_under_it(tmp_path: Path) -> None:
    folder = episode_folder(tmp_path, spec())
    held = Episode.open(folder, spec())
    with pytest.raises(InUse, match="Another process"):
        grid([spec(), spec(1)], tmp_path, redo=[folder.relative_to(tmp_path).as_posix()])
    held.close()
    assert folder.exists() and not (tmp_path / "aside").exists()


def test_the_money_of_the_run_stops_it_and_more_money_goes_on(tmp_path: Path, down: Path) -> None:
    specs = [modelled(seed) for seed in range(4)]
    report = Report()
    outcomes = grid(specs, tmp_path, threads(2), money=4.5, report=report)
    spent = sum(len(Episode.read(folder).replies()) for folder in sorted(tmp_path.glob("*/*/*")) if folder.is_dir())
    assert (len(outcomes), spent) == (1, 3), "the second was expected to cost 3 dollars too"
    assert report.stopped == SHORT.format(4.5)
    report = Report()
    assert len(grid(specs, tmp_path, money=6.0, report=report)) == 2
    assert len(grid(specs, tmp_path, money=100.0, report=Report())) == 4


def test_a_running_episode_gets_at_most_what_is_left(tmp_path: Path, down: Path) -> None:
    report = Report()
    assert grid([modelled()], tmp_path, threads(2), money=1.5, report=report) == []
    store = Episode.read(episode_folder(tmp_path, modelled()))
    assert (len(store.replies()), store.result) == (2, None)
    assert report.stopped == SHORT.format(1.5)
    [result] = grid([modelled()], tmp_path, money=3.5)
    assert isinstance(result, Result) and result.cost.money == 3.0


def stubborn(brief: Any, model: Any) -> Iterator[Action]:
    """Goes on whatever its model raises."""
    for _ in range(6):
        with contextlib.suppress(Exception):
            model([], [])
        yield Action(tool="bash", args={"command": "echo 40 > guess.txt"})


def test_an_agent_that_goes_on_without_its_model_is_stopped_all_the_same(tmp_path: Path, down: Path) -> None:
    one = modelled(agent=f"{HERE}:stubborn")
    assert grid([one], tmp_path, money=2.0) == []
    store = Episode.read(episode_folder(tmp_path, one))
    assert (len(store.replies()), len(store.steps()), store.result) == (2, 2, None)


def slow(brief: Any, model: Any) -> Iterator[Action]:
    """Steps that last."""
    yield Action(tool="bash", args={"command": "echo 41 > guess.txt"})
    for _ in range(3):
        yield Action(tool="bash", args={"command": "sleep 20; echo over"})


@pytest.mark.parametrize("sandbox", ["bubblewrap", "local"])
def test_a_step_that_does_not_end_in_time_is_cut_off_and_not_recorded(tmp_path: Path, sandbox: str) -> None:
    asked = threading.Event()
    halt = Halt(lambda: "Enough." if asked.is_set() else "", grace_s=0.2)
    began = time.monotonic()
    with pytest.raises(Stopped, match="Enough"):
        run_episode(
            spec(0, f"{HERE}:slow", sandbox=sandbox), tmp_path, on_step=lambda step, attempt: asked.set(), halt=halt
        )
    assert time.monotonic() - began < 15
    store = Episode.read(tmp_path)
    assert [step.n for step in store.steps()] == [1] and store.result is None


def test_one_episode_is_cancelled_and_the_rest_goes_on(tmp_path: Path) -> None:
    specs, report = [spec(0, f"{HERE}:slow"), spec(1)], Report()
    name = episode_folder(tmp_path, specs[0])

    def watch(report: Report) -> None:
        if (name / "steps.jsonl").exists() and not beside.cancelled(name):
            beside.cancel(name)

    said: list[str] = []
    stopped = threads(2)

    def impatient(job: Job, each: Iterable[EpisodeSpec | None]) -> Iterator[tuple[EpisodeSpec, Outcome]]:
        assert isinstance(job, RunEpisode)
        yield from stopped(replace(job, grace_s=0.1), each)

    assert len(grid(specs, tmp_path, impatient, report=report, tick=watch, tell=said.append)) == 1
    assert report.cancelled == [name.relative_to(tmp_path).as_posix()] and "--undo' lets it go on" in said[-1]
    follow = Follow(tmp_path)
    follow.look()
    assert (follow.status().cancelled, follow.status().done) == (1, 1)
    report = Report()
    assert len(grid(specs, tmp_path, report=report)) == 1 and len(report.cancelled) == 1
    beside.undo(name)
    beside.cancel(tmp_path)
    report = Report()
    assert grid(specs, tmp_path, report=report) == [] and "--undo" in report.stopped


def test_what_is_left_beside_a_cancelled_episode_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    specs = [spec(0), spec(1)]
    (folder := episode_folder(tmp_path, specs[0])).mkdir(parents=True)
    beside.cancel(folder)
    assert live.run(specs, tmp_path, 1, "steps") == 1
    assert "Stored in" in capsys.readouterr().out


def test_an_episode_that_another_process_runs_is_waited_for(tmp_path: Path) -> None:
    specs = [spec(0), spec(1)]
    held = Episode.open(episode_folder(tmp_path, specs[0]), specs[0])

    def free(one: EpisodeSpec, *_: object) -> None:
        held.close()

    outcomes = grid(specs, tmp_path, on_step=free)
    assert [outcome.boundary for outcome in outcomes] == ["", ""]
    held = Episode.open(episode_folder(tmp_path / "x", specs[0]), specs[0])
    with pytest.raises(UsageError, match="Another process"):
        grid(specs[:1], tmp_path / "x")
    held.close()


def test_a_job_can_be_sent_away(tmp_path: Path) -> None:
    import pickle

    job = RunEpisode(tmp_path, "none", driver="x.json", say=lambda spec, note: None, broke=str)
    sent = pickle.loads(pickle.dumps(job))
    assert (sent.run, sent.gpus, sent.driver, sent.say, sent.broke) == (tmp_path, "none", "x.json", None, None)
    assert sent(spec()).boundary == "stopped", "its driver has left no word"
    result = sent.at(tmp_path / "other")(spec())
    assert isinstance(result, Result) and result.scored


SIGNALS = [(signal.SIGUSR1, 75), (signal.SIGHUP, 129), (signal.SIGTERM, 143)]


@pytest.mark.slow
@pytest.mark.parametrize(("sign", "code"), SIGNALS)
def test_signals_stop_a_grid_and_the_same_command_goes_on(tmp_path: Path, sign: int, code: int) -> None:
    script = tmp_path / "script.json"
    look = {"calls": [{"name": "bash", "arguments": {"command": "echo 41 > guess.txt"}}]}
    script.write_text(json.dumps([look] * 4 + [{"calls": [{"name": "submit"}]}]))
    command = [sys.executable, "-m", "mlgym", "run", GUESS, "-m", f"scripted/{script}", "-k", "2", "-n", "2"]
    command += ["-o", str(tmp_path / "r"), "--sandbox", "local", "-M", "delay_s=0.4"]
    ran = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while len(list(tmp_path.glob("r/*/*/*/steps.jsonl"))) < 2 and ran.poll() is None:
        time.sleep(0.02)
    ran.send_signal(sign)
    out, said = ran.communicate(timeout=30)
    assert ran.returncode == code and said.endswith("Interrupted; the same command goes on.\n"), out + said
    calls = {folder: len(Episode.read(folder).replies()) for folder in tmp_path.glob("r/guess/*/*")}
    assert all(1 <= number < 5 for number in calls.values()) and not (tmp_path / "r" / "drivers").exists()
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert [len(Episode.read(folder).replies()) for folder in calls] == [5, 5], "no call was paid twice"


def test_the_first_pause_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert usual() == Patience()
    monkeypatch.setenv("MLGYM_PAUSE", "0.5")
    assert usual().first_s == 0.5
    monkeypatch.setenv("MLGYM_PAUSE", "soon")
    with pytest.raises(UsageError, match="MLGYM_PAUSE is a number"):
        usual()
