"""`mlgym compare` and `mlgym report` as a user calls them: what is said, and one sentence where it cannot be."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mlgym.cli import app
from mlgym.errors import UsageError
from mlgym.report import versus
from tests.recorded import at, episode, lock

GAMES = ("battle-of-sexes", "prisoners-dilemma", "blotto")


def play(run: Path, hash_of: str = "one", agents: tuple[str, ...] = ("tuner", "nop", "oracle")) -> Path:
    lock(run, GAMES, hash_of)
    level = {"tuner": 0.5, "nop": 0.0, "oracle": 1.0, "tuner?trials=3": 0.51}
    for task in GAMES:
        for seed in range(5):
            for agent in agents:
                episode(run, task, agent, seed, [at(task, level[agent] + seed / 50)])
    return run


def test_the_better_one_is_said_whichever_is_first(tmp_path: Path) -> None:
    run = play(tmp_path / "run")
    for a, b in (("tuner", "nop"), ("nop", "tuner")):
        [found] = versus.compared([run], a, b)
        text = versus.as_text([found])
        assert text.startswith("Yes: tuner is better than nop.") and "probability" in text
        assert all(task in text for task in GAMES)
        assert found.comparison.pairs[0].better == "tuner"


def test_no_difference_is_no_proof_of_equality(tmp_path: Path) -> None:
    run = play(tmp_path / "run", agents=("tuner", "tuner?trials=3"))
    text = versus.as_text(versus.compared([run], "tuner", "tuner?trials=3"))
    assert text.startswith("No difference shown") and "that is not to say" in text


def test_all_pairs_and_their_groups(tmp_path: Path) -> None:
    run = play(tmp_path / "run", agents=("tuner", "tuner?trials=3", "nop", "oracle"))
    [found] = versus.compared([run])
    assert found.comparison.groups == (("oracle",), ("tuner?trials=3", "tuner"), ("nop",))
    text = versus.as_text([found])
    assert "5 of 6 pairs differ" in text and "tuner?trials=3, tuner" in text


def test_names_are_no_markup_and_no_terminal_escapes(tmp_path: Path) -> None:
    lock(tmp_path, ["blotto"], "one")
    for name in ("openai/[/red]", "openai/[bold]:bug:\x1b[31m"):
        for seed in range(2):
            episode(tmp_path, "blotto", "react", seed, [0.1], model=name)
    for found in (versus.compared([tmp_path]), versus.compared([tmp_path], "red", "bold")):
        text = versus.as_text(found)
        assert "[/red]" in text and "[bold]:bug:\N{REPLACEMENT CHARACTER}" in text and "\x1b" not in text


def test_protocols_are_not_compared_unless_mixed(tmp_path: Path) -> None:
    runs = [play(tmp_path / "one", "one", ("tuner",)), play(tmp_path / "two", "two", ("nop",))]
    with pytest.raises(UsageError, match="--mixed"):
        versus.compared(runs, "tuner", "nop")
    [found] = versus.compared(runs, "tuner", "nop", mixed=True)
    assert (found.comparison.pairs[0].a, found.comparison.pairs[0].b) == ("tuner · A", "nop · B")


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [("tuner", "nobody", "no method with 'nobody'"), ("n", "oracle", "Several"), ("tun", "tuner", "both tuner")],
)
def test_a_wrong_name_is_a_sentence(tmp_path: Path, a: str, b: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        versus.compared([play(tmp_path / "run")], a, b)


def test_the_verbs(tmp_path: Path) -> None:
    run, out = str(play(tmp_path / "run")), tmp_path / "out"
    call = CliRunner().invoke
    written = call(app, ["report", run, "-o", str(out), "--figures", "none", "--without", "oracle"])
    assert written.exit_code == 0 and "index.html" in written.output, written.output
    assert "| oracle" not in (out / "report.md").read_text()
    said = call(app, ["compare", run, "tuner", "nop", "--json"])
    assert json.loads(said.output)[0]["comparison"]["pairs"][0]["better"] == "tuner"
    for wrong in (["compare", run, "tuner"], ["report", run, "--figures", "gif"], ["report", str(tmp_path / "none")]):
        assert isinstance(call(app, wrong).exception, UsageError)
