"""The agent `human`: a person at a prompt, here a pipe, and once a terminal."""

import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlgym import agents
from mlgym.errors import UsageError
from mlgym.records import Action, EpisodeSpec, Observation, Step
from mlgym.store import Episode, episodes
from tests.worlds import CLASSIC, World

GUESS = Path(__file__).parent.parent / "examples" / "guess"


def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, **world: Any) -> World:
    """A world in which that text was typed."""
    (tmp_path / "typed").write_text(text)
    place = World(tmp_path, **world)
    with (tmp_path / "typed").open() as lines:
        monkeypatch.setattr(sys, "stdin", lines)
        place.drive(agents.load("human", moves=())(place.brief, None))
    return place


def commands(world: World) -> list[str]:
    return [action.args.get("text", action.tool) for action, _ in world.seen]


def test_commands_of_one_line_and_of_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world = typed(tmp_path, monkeypatch, "echo a\n\n```\necho b\necho c\n```\necho d \\\ne\n?\n??\nsubmit\n")
    assert commands(world) == ["echo a", "echo b\necho c", "echo d \\\ne", "submit"] and world.submitted
    shown = capsys.readouterr().out
    assert shown.count("Play well.") == 2 and shown.count("Ctrl-D") == 2
    assert "a\n(Left: 49 steps.)" in shown and "d e\n" in shown


@pytest.mark.parametrize(("answer", "submitted"), [("", False), ("n\n", False), ("y\n", True)])
def test_the_end_of_the_input_asks_whether_to_submit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, submitted: bool
) -> None:
    answers = iter(["", *answer.splitlines(keepends=True), "", ""])

    class Keys:
        """A terminal at which Ctrl-D is typed and then goes on."""

        def readline(self, *_: object) -> str:
            return next(answers)

        def isatty(self) -> bool:
            return False

    monkeypatch.setattr(sys, "stdin", Keys())
    world = World(tmp_path)
    world.drive(agents.load("human", moves=())(world.brief, None))
    assert world.submitted == submitted and len(world.seen) == submitted


@pytest.mark.parametrize("text", ["```\necho half", "echo half \\"])
def test_input_that_ends_within_a_command_ends_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    world = typed(tmp_path, monkeypatch, text)
    assert len(world.seen) == 1 and not world.submitted


def test_escapes_of_a_program_reach_no_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(tmp_path, monkeypatch, "printf '\\033]0;x\\007red\\r\\n'\n")
    shown = capsys.readouterr().out
    assert "red" in shown and not {"\x1b", "\x07", "\r"} & set(shown)


def test_the_manual_names_the_classic_tools(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(tmp_path, monkeypatch, "submit\n", tools=CLASSIC)
    assert "open, edit, validate, submit" in capsys.readouterr().out


def test_without_standard_input_it_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    world = World(tmp_path)
    with pytest.raises(UsageError, match="standard input"):
        next(agents.load("human", moves=())(world.brief, None))


def mlgym(folder: Path, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mlgym", "run", str(GUESS), "-a", "human", "-o", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, **more)


def test_an_interrupted_episode_goes_on_without_asking_again(tmp_path: Path) -> None:
    first = mlgym(tmp_path, input="echo 41 > guess.txt\nvalidate\n")
    assert first.returncode == 0 and "gave_up after 2 steps" in first.stdout, first.stderr
    (folder,) = episodes(tmp_path)
    (folder / "result.json").unlink()
    lines = (folder / "steps.jsonl").read_text().splitlines(keepends=True)
    (folder / "steps.jsonl").write_text("".join(lines[:2]))
    again = mlgym(tmp_path, input="cat guess.txt\nsubmit\n")
    assert "> echo 41 > guess.txt" in again.stdout and "41\n(Left: 17 steps" in again.stdout, (
        again.stdout + again.stderr
    )
    assert Episode.read(folder).result.final == {"closeness": 0.5}  # type: ignore[union-attr]
    texts = [step.action.args["text"] for step in Episode.read(folder).steps()]
    assert texts == ["echo 41 > guess.txt", "validate", "cat guess.txt", "submit"]


def test_a_person_goes_on_from_a_models_step_without_its_key(tmp_path: Path) -> None:
    taken = Action(tool="bash", args={"command": "echo 41 > guess.txt"}, thought="41.")
    spec = EpisodeSpec(task=str(GUESS), agent="react", model="openai/x")
    store = Episode.open(tmp_path / "first", spec)
    store.add_step(Step(n=1, action=taken, observation=Observation(text="", steps_left=19), calls=1))
    store.close()
    command = [sys.executable, "-m", "mlgym", "run", "-a", "human", "--from", f"{tmp_path / 'first'}@1"]
    ran = subprocess.run(
        [*command, "-o", str(tmp_path / "run")], input="cat guess.txt\nsubmit\n", capture_output=True, text=True
    )
    (folder,) = episodes(tmp_path / "run")
    result = Episode.read(folder).result
    assert result and result.final == {"closeness": 0.5} and result.steps == 3, ran.stdout + ran.stderr


def test_best_of_n_lets_no_person_try() -> None:
    with pytest.raises(UsageError, match="'human' cannot be one that best-of-n lets try"):
        agents.about("best-of-n?agent=human")


def test_two_persons_at_one_terminal_are_refused(tmp_path: Path) -> None:
    ran = mlgym(tmp_path, "-n", "2", stdin=subprocess.DEVNULL)
    assert ran.returncode == 2 and "has one terminal" in ran.stderr


def test_at_a_terminal_lines_have_a_history_and_words_stay_whole(tmp_path: Path) -> None:
    pytest.importorskip("readline")
    outer, inner = pty.openpty()
    code = (
        "from tests.worlds import World; from mlgym import agents; from pathlib import Path; import sys;"
        "w = World(Path(sys.argv[1])); w.drive(agents.load('human', moves=())(w.brief, None));"
        "print([action.args for action, _ in w.seen])"
    )
    root = Path(__file__).parent.parent
    env = {**os.environ, "PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}", "TERM": "dumb", "COLUMNS": "40"}
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=inner, stdout=inner, stderr=inner, env=env
    ) as ran:
        os.write(outer, b"echo once\n\x1b[A\n")  # the arrow key up
        os.write(outer, b"submit\n")
        os.close(inner)
        shown = b""
        try:
            while part := os.read(outer, 65536):
                shown += part
        except OSError:  # the other end was closed
            pass
        assert ran.wait() == 0, shown
    os.close(outer)
    assert shown.count(b"{'text': 'echo once'}") == 2
    assert b"A line is a command. One that ends in a\r\nbackslash goes on" in shown
