"""Going on from a step of a recorded episode."""

import hashlib
import json
from pathlib import Path

import pytest

from mlgym.episode import run_episode
from mlgym.errors import UsageError
from mlgym.onward import onward
from mlgym.records import Action, Brief, EpisodeSpec, Limits, Observation, Result
from mlgym.store import Episode, episode_folder
from tests.servers import OpenAIServer
from tests.test_cli import mlgym

GUESS = str(Path(__file__).parent.parent / "examples" / "guess")
HERE = "tests.test_onward" if __name__.startswith("tests.") else "test_onward"


def spec(backend: str, agent: str, **kw: object) -> EpisodeSpec:
    return EpisodeSpec.model_validate(
        {"task": GUESS, "agent": agent, "sandbox": backend, "limits": Limits(steps=12), **kw}
    )


def climber(brief: Brief, model: object, *, until: int = 40):  # type: ignore[no-untyped-def]
    """Guesses 20, 30, 40 …, validating each, and remembers the last guess in a variable of its shell."""
    for value in range(20, until + 1, 10):
        yield Action(tool="bash", args={"command": f"echo before: $last; last={value}; echo {value} > guess.txt"})
        seen: Observation = yield Action(tool="validate")
        assert seen.validation is not None
    yield Action(tool="submit")


def contents(folder: Path) -> dict[str, str]:
    """The files of an episode but its lock, by their hashes."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "lock")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def recorded(tmp_path: Path, backend: str) -> Path:
    run_episode(spec(backend, f"{HERE}:climber"), tmp_path / "recorded")
    return tmp_path / "recorded"


def test_it_begins_with_the_recorded_steps_and_goes_on(recorded: Path, tmp_path: Path) -> None:
    before = contents(recorded)
    old = Episode.read(recorded)
    for n in (0, 1, 2, 3, 6):
        made = onward(f"{recorded}@{n}")
        folder = tmp_path / f"new{n}"
        result = run_episode(made, folder)
        new = Episode.read(folder)
        assert new.steps()[:n] == old.steps()[:n]
        assert [(s.action, s.observation.text) for s in new.steps()] == [
            (s.action, s.observation.text) for s in old.steps()
        ]
        assert (result.ended, result.final) == ("submitted", {"closeness": pytest.approx(1 / 3)})
        assert not [note for note in result.notes if "played back" in note]
        assert result.source == made.source == new.spec.source == f"{recorded.resolve()}@{n}"
        assert [a.files for a in result.attempts] == [a.files for a in old.attempts()]
        assert all(new.file(digest).exists() for a in new.attempts() for digest in a.files.values())
    assert contents(recorded) == before, "the recorded episode was written to"


def test_other_options_that_still_choose_the_recorded_actions(recorded: Path, tmp_path: Path) -> None:
    result = run_episode(onward(f"{recorded}@4", agent=f"{HERE}:climber?until=30"), tmp_path / "new")
    assert (result.ended, result.steps, result.final) == ("submitted", 5, {"closeness": pytest.approx(1 / 13)})


@pytest.mark.parametrize("agent", [f"{HERE}:climber?until=20", "nop", "tuner?trials=2"])
def test_an_agent_that_chooses_otherwise_is_refused(recorded: Path, tmp_path: Path, agent: str) -> None:
    with pytest.raises(UsageError, match=r"does not choose the recorded action of step \d, so it cannot go on"):
        run_episode(onward(f"{recorded}@4", agent=agent), tmp_path / "new")
    assert not (tmp_path / "new" / "result.json").exists()


def test_a_model_is_not_paid_for_what_is_recorded(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with OpenAIServer([{"calls": [("submit", {})]}]) as server:
        made = onward(f"{recorded}@2", agent="react", model="openai/x", base_url=server.url)
        with pytest.raises(UsageError, match="cannot go on"):
            run_episode(made, tmp_path / "new")
        assert server.requests == []


FIRST = [
    {"text": "Two at once.", "calls": [("bash", {"command": "echo 20 >guess.txt; x=7"}), ("validate", {})]},
    {"text": "Only words."},
    {"text": "Again.", "calls": [("bash", {"command": "echo 30 >guess.txt"})]},
    {"text": "Done.", "calls": [("submit", {})]},
]
SECOND: list[object] = [
    None,
    {"text": "I look.", "calls": [("bash", {"command": "echo $x; cat guess.txt"})]},
    {"text": "And submit.", "calls": [("submit", {})]},
]


def test_another_model_takes_over(tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with OpenAIServer(FIRST) as one, OpenAIServer(SECOND) as two:
        first = run_episode(spec(backend, "react", model="openai/x", base_url=one.url), tmp_path / "first")
        assert [step.calls for step in Episode.read(tmp_path / "first").steps()] == [1, 1, 3, 4]
        made = onward(f"{tmp_path / 'first'}@2", model="openai/y", base_url=two.url)
        result = run_episode(made, tmp_path / "second")
        assert len(one.requests) == 4 and len(two.requests) == 2, "recorded calls were paid again"
    store = Episode.read(tmp_path / "second")
    assert [step.action.tool for step in store.steps()] == ["bash", "validate", "bash", "submit"]
    assert store.steps()[2].observation.text == "7\n20\n"
    assert [reply.text for reply in store.replies()] == ["Two at once.", "I look.", "And submit."]
    assert result.cost.calls == 3 and first.ended == result.ended == "submitted"
    told = json.dumps(two.requests[0])
    assert "Two at once." in told and "Only words." not in told


def test_a_model_with_tools_takes_over_from_one_without(tmp_path: Path, backend: str) -> None:
    told = {"/v1/models": {"data": [{"id": "x", "capabilities": ["completion"]}]}}
    able = {"/v1/models": {"data": [{"id": "y", "capabilities": ["completion", "tools"]}]}}
    spoken = ["Guess.\n```\necho 20 >guess.txt\n```", "Done.\n```\nsubmit\n```"]
    with OpenAIServer(spoken, tells=told) as one, OpenAIServer([None, spoken[1]], tells=able) as two:
        run_episode(spec(backend, "react", model="vllm/x", base_url=one.url), tmp_path / "first")
        assert "tools" not in one.requests[0]
        made = onward(f"{tmp_path / 'first'}@1", model="vllm/y", base_url=two.url)
        result = run_episode(made, tmp_path / "second")
        assert (result.ended, result.steps, len(two.requests)) == ("submitted", 2, 1)


def test_a_kill_between_copying_and_the_end_changes_nothing(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, folder = onward(f"{recorded}@4"), tmp_path / "new"
    whole = run_episode(made, tmp_path / "whole")

    def results(folder: Path) -> Result:
        return run_episode(made, folder).changed(cost=whole.cost)

    from mlgym import store

    for kept in (1, 2, 4, 7):  # the first is the spec's
        real, left = store.write_whole, [kept]

        def dying(path: Path, data: bytes, real=real, left=left) -> None:  # type: ignore[no-untyped-def]
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            real(path, data)

        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(store, "write_whole", dying)
            run_episode(made, folder / str(kept))
        assert results(folder / str(kept)) == whole
    with pytest.raises(UsageError, match="another source"):
        run_episode(onward(f"{recorded}@2"), folder / "4")


def test_onward_from_onward(recorded: Path, tmp_path: Path) -> None:
    run_episode(onward(f"{recorded}@4", agent=f"{HERE}:climber?until=30"), tmp_path / "run" / "a" / "b" / "0")
    result = run_episode(onward(f"{tmp_path / 'run'}@3", agent=f"{HERE}:climber"), tmp_path / "new")
    assert (result.ended, result.final) == ("submitted", {"closeness": pytest.approx(1 / 3)})


def test_what_cannot_be_gone_on_from_is_a_sentence(recorded: Path, tmp_path: Path) -> None:
    lines = (recorded / "spec.json").read_text()
    for text, said in (
        ("nowhere", "takes EPISODE@STEP"),
        ("@3", "takes EPISODE@STEP"),
        (f"{recorded}@-1", "takes EPISODE@STEP"),
        (f"{tmp_path / 'none'}@1", "holds no episode"),
        (f"{recorded}@8", "has 7 steps, so there is no step 8"),
        (f"{recorded}@7", "Step 7 ended the episode"),
    ):
        with pytest.raises(UsageError, match=said):
            onward(text)
    (recorded / "spec.json").write_text(lines.replace('"version": 1', '"version": 7'))
    with pytest.raises(UsageError, match=r"made with version 7 of .*, here is version 1"):
        onward(f"{recorded}@1")


def test_it_has_a_folder_of_its_own_in_a_run(recorded: Path, tmp_path: Path) -> None:
    folders = {episode_folder(tmp_path, onward(f"{recorded}@{n}")) for n in (1, 2)}
    folders.add(episode_folder(tmp_path, Episode.read(recorded).spec))
    assert len(folders) == 3


def test_the_command_line(tmp_path: Path, backend: str) -> None:
    ran = mlgym("run", GUESS, "-a", "tuner?trials=3", "-o", "a", "-q", "--sandbox", backend, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    ran = mlgym("run", "--from", "a@2", "-a", "tuner?trials=4", "--steps", 9, "-o", "b", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "Playing back 2 recorded steps" in ran.stdout and "(from step 2)" in ran.stdout
    assert "It went on from" in mlgym("show", "b", cwd=tmp_path).stdout
    (made,) = (json.loads(path.read_text()) for path in (tmp_path / "b").rglob("spec.json"))
    assert made["limits"]["steps"] == 9 and made["sandbox"] == backend
    for args, said in (
        (("--from", "a@99"), "there is no step 99"),
        ((GUESS, "--from", "a@1"), "name none"),
        (("--from", "a@1", "-k", 2), "name none"),
    ):
        ran = mlgym("run", *args, cwd=tmp_path)
        assert ran.returncode == 2 and said in ran.stderr and len(ran.stderr.splitlines()) == 1
