"""Episodes: how they end, what is stored, going on after a stop."""

import contextlib
import json
import shutil
from pathlib import Path

import pytest

from mlgym.episode import run_episode
from mlgym.errors import StorageError, UsageError
from mlgym.records import Action, Brief, EpisodeSpec, Limits, Observation, Step
from mlgym.store import Episode
from tests.faults import lose, mine
from tests.servers import OpenAIServer

GUESS = str(Path(__file__).parent.parent / "examples" / "guess")


def spec(backend: str, agent: str, **kw: object) -> EpisodeSpec:
    return EpisodeSpec.model_validate(
        {"task": GUESS, "agent": agent, "sandbox": backend, "limits": Limits(steps=12), **kw}
    )


def write(value: int) -> Action:
    return Action(tool="bash", args={"command": f"echo {value} > guess.txt; date +%N"})


def climber(brief: Brief, model: object, *, until: int = 40, fail: str = ""):  # type: ignore[no-untyped-def]
    """Guesses 20, 30, 40 …, validating each."""
    for value in range(20, until + 1, 10):
        yield write(value)
        seen: Observation = yield Action(tool="validate")
        assert seen.validation is not None
    if fail:
        raise ValueError(fail)
    yield Action(tool="submit")


def quitter(brief: Brief, model: object):  # type: ignore[no-untyped-def]
    """Gives up after one step."""
    yield write(41)


def wrong(brief: Brief, model: object):  # type: ignore[no-untyped-def]
    """Removes its submission after a good attempt."""
    yield write(41)
    yield Action(tool="validate")
    yield Action(tool="bash", args={"command": "rm guess.txt"})
    yield Action(tool="submit")


HERE = "tests.test_episode" if __name__.startswith("tests.") else "test_episode"


def test_a_submitted_episode_has_every_attempt_on_both_splits(tmp_path: Path, backend: str) -> None:
    result = run_episode(spec(backend, f"{HERE}:climber"), tmp_path)
    assert (result.ended, result.boundary, result.steps, result.scored) == ("submitted", "", 7, True)
    assert [a.kind for a in result.attempts] == ["validate"] * 3 + ["submit"]
    assert all(a.test and a.validation for a in result.attempts)
    assert result.final == result.best == result.selected == {"closeness": pytest.approx(1 / 3)}
    assert result.isolation == {"local": "none", "bubblewrap": "full"}.get(backend, "partial")
    store = Episode.read(tmp_path)
    assert [s.attempt for s in store.steps()] == [None, 0, None, 1, None, 2, 3]
    assert sum(s.reward or 0 for s in store.steps()) == pytest.approx(result.progress)
    told = (tmp_path / "steps.jsonl").read_text()
    tests = [a.test["closeness"] for a in result.attempts if a.test and a.validation]
    assert tests and not [value for value in tests if str(value) in told], "no step may show a test score"
    assert [a.validation for a in result.attempts if a.validation and str(a.validation["closeness"]) in told]


@pytest.mark.parametrize(
    ("agent", "ended", "boundary", "final"),
    [
        ("quitter", "gave_up", "", 1 / 2),
        ("wrong", "submitted", "", 1 / 2),
        ("climber?fail=oops", "error", "agent", 1 / 3),
        ("climber?until=900", "steps", "", 1 / 29),
    ],
)
def test_however_it_ends_its_state_is_graded(
    tmp_path: Path, backend: str, agent: str, ended: str, boundary: str, final: float
) -> None:
    result = run_episode(spec(backend, f"{HERE}:{agent}"), tmp_path)
    assert (result.ended, result.boundary) == (ended, boundary)
    assert result.final and result.final["closeness"] == pytest.approx(final, rel=0.02)
    assert sum(s.reward or 0 for s in Episode.read(tmp_path).steps()) == pytest.approx(result.progress)
    assert result.attempts[-1].fallback == (agent == "wrong")


def test_the_oracle_does_not_read_what_pip_compiled(tmp_path: Path) -> None:
    shutil.copytree(GUESS, tmp_path / "guess")
    for folder in ("solution", "workspace"):
        (tmp_path / "guess" / folder / "__pycache__").mkdir()
        (tmp_path / "guess" / folder / "__pycache__" / "guess.cpython-311.pyc").write_bytes(b"\xa7")
    done = run_episode(spec("local", "oracle", task=str(tmp_path / "guess")), tmp_path / "o")
    assert done.progress == pytest.approx(1)


def test_oracle_and_nop(tmp_path: Path, backend: str) -> None:
    best = run_episode(spec(backend, "oracle"), tmp_path / "o")
    assert best.oracle and best.progress == pytest.approx(1)
    nothing = run_episode(spec(backend, "nop"), tmp_path / "n")
    assert not nothing.oracle and nothing.progress == pytest.approx(0)


def test_a_done_episode_is_read_and_an_interrupted_one_goes_on(tmp_path: Path, backend: str) -> None:
    whole = run_episode(spec(backend, f"{HERE}:climber"), tmp_path / "whole")
    steps = (tmp_path / "whole/steps.jsonl").read_bytes().splitlines(keepends=True)
    for cut in range(len(steps) + 1):
        folder = tmp_path / str(cut)
        store = Episode.open(folder, spec(backend, f"{HERE}:climber"))
        (folder / "steps.jsonl").write_bytes(b"".join(steps[:cut]) + b'{"n": torn')
        for attempt in whole.attempts:
            if any(json.loads(line)["attempt"] == attempt.n for line in steps[:cut]):
                store.add_attempt(attempt, [_laid(store, tmp_path / "whole", attempt.files, folder / "laid")])
        store.close()
        again = run_episode(spec(backend, f"{HERE}:climber"), folder)
        assert (again.final, again.steps, again.ended) == (whole.final, whole.steps, whole.ended)
        assert [a.test for a in again.attempts] == [a.test for a in whole.attempts]
        assert len(Episode.read(folder).steps()) == len(steps)
        assert any("differed" in note for note in again.notes) == (cut > 0), "date +%N differs when played back"
    assert run_episode(spec(backend, f"{HERE}:climber"), tmp_path / "whole") == whole


def _laid(store: Episode, whole: Path, files: dict[str, str], into: Path) -> Path:
    into.mkdir(exist_ok=True)
    return Episode.read(whole).checkout(files, into)


def clock_bound(brief: Brief, model: object):  # type: ignore[no-untyped-def]
    """What its command writes is another thing each time it runs."""
    yield Action(tool="bash", args={"command": "echo 30.$(date +%N) > guess.txt"})
    yield Action(tool="validate")
    yield Action(tool="bash", args={"command": "rm guess.txt"})
    yield Action(tool="submit")


def test_a_fallback_is_graded_from_the_recorded_files_not_from_the_played_back(tmp_path: Path, backend: str) -> None:
    made = spec(backend, f"{HERE}:clock_bound")
    whole = run_episode(made, tmp_path / "whole")
    assert whole.final and whole.attempts[-1].fallback
    for kept in (2, 3):
        folder = tmp_path / str(kept)
        shutil.copytree(tmp_path / "whole", folder)
        (folder / "result.json").unlink()
        (folder / "attempts" / "0001.json").unlink()
        steps = (folder / "steps.jsonl").read_bytes().splitlines(keepends=True)
        (folder / "steps.jsonl").write_bytes(b"".join(steps[:kept]))
        assert run_episode(made, folder).final == whole.final


def test_a_providers_failure_is_unscored_and_the_same_command_goes_on(
    tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    down = {"status": 401, "error": "no such key"}
    replies: list[object] = [{"calls": [("bash", {"command": "echo 41 > guess.txt"})]}, down]
    with OpenAIServer(lambda body: replies[min(sum(m["role"] == "assistant" for m in body["messages"]), 1)]) as server:
        made = spec(backend, "react", model="openai/x", base_url=server.url)
        result = run_episode(made, tmp_path)
        assert (result.ended, result.boundary, result.scored, result.progress) == ("error", "model", False, None)
        assert Episode.read(tmp_path).steps()[-1].reward is None
        calls = len(server.requests)
        replies[1] = {"calls": [("submit", {})]}
        result = run_episode(made, tmp_path)
        assert (result.ended, result.scored, result.final) == ("submitted", True, {"closeness": 0.5})
        assert len(server.requests) == calls + 1 and result.cost.calls == 2


def test_an_end_by_tokens_is_played_back_with_its_costs(
    tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with OpenAIServer(lambda body: {"calls": [("bash", {"command": "ls"})]}) as server:
        limits = Limits(steps=12, tokens=250)
        made = spec(backend, "react", model="openai/x", base_url=server.url, limits=limits)
        first = run_episode(made, tmp_path)
        assert (first.ended, first.boundary, first.scored, first.cost.calls) == ("tokens", "budget", True, 3)
        (tmp_path / "result.json").unlink()
        again = run_episode(made, tmp_path)
        costs = [each.cost.changed(cpu_s=0.0) for each in (again, first)]  # the playback's processors are its own
        assert (again.ended, costs[0], again.final) == (first.ended, costs[1], first.final)
        assert len(server.requests) == 3


def leaver(brief: Brief, model: object):  # type: ignore[no-untyped-def]
    """Ends its own process, as it thinks."""
    yield Action(tool="bash", args={"command": "echo 41 > guess.txt"})
    raise SystemExit(3)


def test_an_agent_that_exits_is_a_result(tmp_path: Path, backend: str) -> None:
    result = run_episode(spec(backend, f"{HERE}:leaver"), tmp_path)
    assert (result.boundary, result.final, result.scored) == ("agent", {"closeness": 0.5}, True)


def flooder(brief: Brief, model: object):  # type: ignore[no-untyped-def]
    """Runs into two bounds, then gives up."""
    seen = yield Action(tool="bash", args={"command": "head -c 70M /dev/zero | tr '\\0' 'x'"})
    assert (seen.hit, "[stopped: it printed more" in seen.text) == ("output", True)
    seen = yield Action(tool="bash", args={"command": "sleep 9", "timeout": 0.2})
    assert (seen.hit, seen.status) == ("timeout", "timeout")
    seen = yield Action(tool="bash", args={"command": "true"})
    assert seen.hit == ""


def test_what_was_hit_is_counted_and_recorded_hits_count_on_resume(tmp_path: Path, backend: str) -> None:
    first = run_episode(spec(backend, f"{HERE}:flooder"), tmp_path)
    assert (first.boundary, first.hits) == ("", {"output": 1, "timeout": 1})
    assert 0 < first.cost.cpu_s < 60
    (tmp_path / "result.json").unlink()
    assert run_episode(spec(backend, f"{HERE}:flooder"), tmp_path).hits == first.hits


def test_replay_repeats_a_recorded_episode(tmp_path: Path, backend: str) -> None:
    first = run_episode(spec(backend, f"{HERE}:climber"), tmp_path / "a")
    again = run_episode(spec(backend, f"replay?episode={tmp_path / 'a'}"), tmp_path / "b")
    assert (again.ended, again.final, again.steps) == (first.ended, first.final, first.steps)


def test_replay_without_an_episode_is_a_sentence(tmp_path: Path, backend: str) -> None:
    with pytest.raises(UsageError, match="replay"):
        run_episode(spec(backend, "replay"), tmp_path)


def test_a_task_of_another_version_is_refused(tmp_path: Path, backend: str) -> None:
    with pytest.raises(UsageError, match="version"):
        run_episode(spec(backend, "nop", version=9), tmp_path)


def test_steps_are_told_as_they_happen(tmp_path: Path, backend: str) -> None:
    seen: list[Step] = []
    run_episode(spec(backend, "nop"), tmp_path, on_step=lambda step, attempt: seen.append(step))
    assert [step.action.tool for step in seen] == ["submit"]


def test_a_lost_sandbox_is_set_up_again_by_playback(tmp_path: Path) -> None:
    made = spec("bubblewrap", f"{HERE}:climber")
    others = mine()
    seen: list[int] = []

    def kill(step: Step, attempt: object) -> None:
        seen.append(step.n)
        if step.n in (2, 5):
            lose(others)

    result = run_episode(made, tmp_path, on_step=kill)
    assert (result.ended, result.boundary, result.scored, result.steps) == ("submitted", "", True, 7)
    assert seen == list(range(1, 8)), "each step is told once"
    assert len([note for note in result.notes if "set up again" in note]) == 2
    assert [attempt.n for attempt in result.attempts] == [0, 1, 2, 3]


def breaker(brief: Brief, model: object):  # type: ignore[no-untyped-def]
    """Kills the program that drives its shell, which only `local` lets it."""
    yield write(40)
    yield Action(tool="validate")
    yield Action(tool="bash", args={"command": "echo 0 > guess.txt; kill -9 $PPID"})


def test_a_sandbox_lost_twice_at_one_step_is_the_agents_own_doing(tmp_path: Path) -> None:
    said: list[str] = []
    result = run_episode(spec("local", f"{HERE}:breaker"), tmp_path, say=said.append)
    assert (result.ended, result.boundary, result.scored) == ("error", "sandbox", True)
    assert result.attempts[-1].fallback and result.final == {"closeness": pytest.approx(1 / 3)}
    assert len([line for line in said if line.startswith("Step 3: The sandbox")]) == 1


def swallower(brief: Brief, model):  # type: ignore[no-untyped-def]
    """Goes on whatever its model raises."""
    for _ in range(3):
        with contextlib.suppress(Exception):
            model([], [])
        yield Action(tool="bash", args={"command": "echo 40 > guess.txt"})
    yield Action(tool="submit")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("agent", ["react", f"{HERE}:swallower"])
def test_a_reply_that_cannot_be_recorded_stops_the_episode(tmp_path: Path, backend: str, agent: str) -> None:
    script = tmp_path / "script.json"
    look = {"calls": [{"name": "bash", "arguments": {"command": "ls"}}]}
    script.write_text(json.dumps([look, {"calls": [{"name": "submit"}]}]))
    made = spec(backend, agent, model=f"scripted/{script}")
    folder = tmp_path / "episode"
    calls, aside = folder / "calls.jsonl", tmp_path / "aside"

    def fill(step: Step, attempt: object) -> None:
        calls.rename(aside)
        calls.symlink_to("/dev/full")  # nobody reads it while it is there: it has no end

    with pytest.raises(StorageError, match="is full"):
        run_episode(made, folder, on_step=fill)
    aside.rename(calls)
    assert Episode.read(folder).result is None and len(Episode.read(folder).steps()) == 1
    assert run_episode(made, folder).ended == "submitted"
