"""Episodes as text: hostile text is neutralised, long text is cut, the table fits."""

import io

from rich.console import Console

from mlgym.records import Action, Attempt, EpisodeSpec, Observation, Result, Step
from mlgym.report import console

SPEC = EpisodeSpec(task="blotto", agent="tuner")
HOSTILE = "\x1b[2J\x1b]0;owned\x07 [bold]not markup[/bold] \u202egpj.exe \x00"


def printed(thing: object, width: int = 80) -> str:
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=False).print(thing)
    return out.getvalue()


def test_hostile_text_is_shown_as_text() -> None:
    step = Step(
        n=1,
        action=Action(tool="bash", args={"command": HOSTILE}, thought=HOSTILE),
        observation=Observation(text=HOSTILE),
    )
    text = printed(console.live(SPEC, step, None, False))
    assert "[bold]not markup[/bold]" in text
    assert not any(mark in text for mark in "\x1b\x07\x00\u202e")


def test_long_output_shows_both_ends() -> None:
    text = console.ends("\n".join(f"line {n}" for n in range(1000)))
    assert text.startswith("line 0") and text.endswith("line 999") and "994 lines" in text
    assert len(console.ends("x" * 10_000)) < 200


def test_the_table_fits_80_columns_and_says_what_matters() -> None:
    attempt = Attempt(n=0, step=1, kind="submit", valid=True, validation={"score": 0.12345}, test={"score": -0.2})
    result = Result(
        ended="submitted",
        metric="score",
        attempts=(attempt,),
        final={"score": -0.2},
        selected={"score": -0.2},
        baseline={"validation": {"score": -0.25}, "test": {"score": -0.24}},
        progress=0.08,
    )
    text = printed(console.results([(SPEC, result), (SPEC.changed(task="battle-of-sexes"), result)]))  # fmt: skip
    for part in ("battle-of-sexes", "-0.2500/-0.2400", "0.1235/-0.2000", "0.080", "full"):
        assert part in text
    assert "…" not in text


def test_an_episode_without_scores_is_shown_with_dashes() -> None:
    assert "–" in printed(console.results([(SPEC, Result(ended="error", boundary="model"))]))
