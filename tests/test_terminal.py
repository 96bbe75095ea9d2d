"""Whatever a record holds, no command gives a terminal anything to obey: escapes, bells, returns, direction marks."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mlgym import beside, live
from mlgym.cli import app
from mlgym.records import Action, EpisodeSpec, Failure, Observation, Result, Step
from mlgym.report.console import cell, safe
from mlgym.store import Episode
from tests.recorded_runs import episode

CSI, OSC, ST = "\x1b[", "\x1b]", "\x1b\\"
WORDS = (
    f"{CSI}2J{CSI}31mred {OSC}52;c;b3duZWQ=\x07 {OSC}8;;http://evil.example{ST}link{OSC}8;;{ST} {OSC}0;title\x07 "
    "\x9b5m\x90q\x9c over\rwritten back\b\b \x7f \u202egpj.exe\u2066\u2069 \u061c [link=http://evil.example]x[/link] \0"
)
OWN = re.compile(r"\x1b\[(?:\d+(?:;\d+)*)?m|\x1b\[\?25[lh]|\x1b\[1A|\x1b\[2K|\r(?=\n|\x1b\[2K)")  # what rich draws with


def unsafe(text: str) -> list[str]:
    """The signs of a text that a terminal would obey, beside the colours and moves of our own tables."""
    return re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]", OWN.sub("", text))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with such words wherever its records may have some."""
    run = tmp_path_factory.mktemp("hostile") / "run"
    steps = [
        Step(
            n=1,
            action=Action(tool=WORDS, args={"command": WORDS, WORDS: WORDS}, thought=WORDS, call=WORDS),
            observation=Observation(text=WORDS, tool=WORDS, hit=WORDS, status="error"),
            marks=(f"+{WORDS}", f"-{WORDS}"),
        ),
        Step(
            n=2, action=Action(tool="bash", args={"command": f"cat /private/{WORDS}"}), observation=Observation(text="")
        ),
    ]
    result = {name: WORDS for name in ("ended", "why", "data", "python", "source", "backend")}
    spec = {"model": WORDS, "sampling": {"x": WORDS}}
    folder = episode(run, agent=f"tuner {WORDS}", steps=steps, spec=spec, notes=(WORDS,), boundary="agent", **result)
    store = Episode.read(folder)
    store.file("0" * 64).write_text(f"{WORDS}\nrow\n")
    best = {"skill": 0.7}
    named = {f"file {WORDS}": "0" * 64}
    attempt = store.attempts()[0].changed(n=1, step=2, code=named, files=named, why=WORDS, test=best)
    store.add_attempt(attempt)
    told = store.result
    assert told
    store.finish(told.changed(attempts=(*told.attempts, attempt), selected=best, best=best))
    lost = episode(run, seed=1)
    (lost / "result.json").unlink()
    beside.add_try(lost, "sandbox", WORDS)
    about = {"metric": "x", "direction": "maximize", "method": WORDS}
    task = re.sub("[/\0]", "", WORDS)
    cells = [
        {"cell": cell, **about} for cell in (f"{task}/method/0", f"{WORDS}/method/0", "../../../x", "a/b/\0", "a/b/..")
    ]
    (run / "cells.jsonl").write_text("".join(json.dumps(cell) + "\n" for cell in cells))
    return run


@pytest.fixture(params=["piped", "terminal"])
def screen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Without colours, and with what a terminal gets."""
    monkeypatch.setenv("COLUMNS", "160")
    if request.param == "terminal":
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm-256color")
    return str(request.param)


@pytest.mark.parametrize(
    ("command", "shows"),
    [
        ("show RUN", "own python"),
        ("show ONE", "step 1"),
        ("show ONE --diff", "row"),
        ("status RUN", "1 missing"),
        ("status RUN -f --every 0.1", "of 3"),
        ("status RUN --json", "waiting"),
        ("audit RUN", "flag"),
        ("audit RUN --json", "flags"),
        ("regrade RUN", "graded again"),
        ("data export RUN -o OUT/data", "left to export"),
        ("pack RUN -o OUT/run.gz", "MB"),
        ("view --bundle OUT/page.html RUN", "MB"),
        ("compare RUN", ""),
        ("report RUN -o OUT/report --figures none", ""),
    ],
)
def test_no_command_passes_it_on(command: str, shows: str, run: Path, screen: str, tmp_path: Path) -> None:
    one = next(run.glob("*/*/0"))
    words = [
        w.replace("RUN", str(run)).replace("ONE", str(one)).replace("OUT", str(tmp_path)) for w in command.split(" ")
    ]
    done = CliRunner().invoke(app, words)
    told = f"{done.output}"
    assert not unsafe(told), (unsafe(told), OWN.sub("", told)[-1500:])
    assert shows in told or shows in str(done.exception), (told, done.exception)


def test_a_packed_run_neither(run: Path, screen: str, tmp_path: Path) -> None:
    file = tmp_path / "run.gz"
    assert CliRunner().invoke(app, ["pack", str(run), "-o", str(file)]).exit_code == 0
    done = CliRunner().invoke(app, ["verify", "--no-grade", str(file)])
    assert not unsafe(done.output) and ("MATCH" in done.output or "DIFFERENCE" in done.output), done


def test_an_error_neither() -> None:
    command = [sys.executable, "-m", "mlgym", "--debug", "show", WORDS.replace("\0", "")]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 2 and "There is no episode in" in ran.stderr
    assert not unsafe(ran.stdout + ran.stderr)


def test_a_run_neither(capsys: pytest.CaptureFixture[str]) -> None:
    spec = EpisodeSpec(task="blotto", agent=f"tuner {WORDS}")
    action = Action(tool=WORDS, args={"command": WORDS}, thought=WORDS)
    for specs in ([spec], [spec, spec.changed(seed=1)]):
        display = live._Display(specs, "steps")
        display.step(spec, Step(n=1, action=action, observation=Observation(text=WORDS), marks=(f"+{WORDS}",)), None)
        display.say(spec, WORDS)
        display.ended(spec, Failure(boundary="sandbox", why=WORDS))
        display.ended(spec, Result(ended=WORDS, why=WORDS, metric="score"))
    told = "".join(capsys.readouterr())
    assert told.count("evil.example") > 5 and not unsafe(told), unsafe(told)


@pytest.mark.parametrize("sign", ["\x1b", "\x9b", "\r", "\b", "\u202e", "\u061c", "\ud800", "\x7f", "\0"])
def test_each_sign_is_replaced(sign: str) -> None:
    assert safe(f"a{sign}b") == str(cell(f"a{sign}b")) == "a\N{REPLACEMENT CHARACTER}b"
    assert safe("a\r\nb\tc") == "a\nb\tc" and str(cell("a\nb")) == "a b"
