"""Agents that are programs: what they are served, how their episodes end, and that they go on after a kill."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlgym import agents
from mlgym.audit import audit
from mlgym.episode import run_episode
from mlgym.errors import SandboxError, UsageError
from mlgym.outside import flow
from mlgym.outside import program as started
from mlgym.records import EpisodeSpec, Limits, Result, Step
from mlgym.sandbox.probe import probe
from mlgym.store import Episode

# Thirty lines that any language could have: ask the model, do what it says, show it what came of it.
PRELUDE = """#!/usr/bin/env python3
import json, os, subprocess, sys, time, urllib.error, urllib.request

def ask(messages, **more):
    body = json.dumps({"model": os.environ["MLGYM_MODEL"], "messages": messages, **more}).encode()
    url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
    request = urllib.request.Request(url, body, {"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        return json.load(answer)["choices"][0]["message"]

def task(*words, given=""):
    ran = subprocess.run(["task", *words], input=given, capture_output=True, text=True)
    print(words, ran.returncode, ran.stdout, ran.stderr, flush=True)
    return ran
"""
LOOP = """
messages = [{"role": "system", "content": "You act."}, {"role": "user", "content": os.environ["MLGYM_TASK"]}]
while True:
    said = ask(messages, temperature=0.5)["content"]
    ran = task("do", "-", given=said)
    messages += [{"role": "assistant", "content": said}, {"role": "user", "content": ran.stdout}]
    if ran.returncode == 3:
        break
"""
BETTER = "sed -i 's/^\\(REPEAT_[A-Z]*\\|PLAY_ONE\\) = [0-9.]*/\\1 = 0.0/' strategy.py"
Program = Callable[..., Result]


@pytest.fixture
def isolated() -> None:
    """Skips where no sandbox has a network of its own, but never in CI."""
    tried = probe("bubblewrap")
    if not tried.works:
        assert "CI" not in os.environ, tried
        pytest.skip(f"bubblewrap does not start: {tried.why}")


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, isolated: None) -> Program:
    """Runs an episode in `tmp_path/e`, its agent a program of this text, its model a list of replies."""
    monkeypatch.chdir(tmp_path)

    def run(text: str, replies: Any = None, *, on_step: Callable[..., None] = lambda *_: None, **fields: Any) -> Result:
        (tmp_path / "agent.py").write_text(PRELUDE + text)
        (tmp_path / "agent.py").chmod(0o755)
        if replies is not None:
            (tmp_path / "script.json").write_text(json.dumps(replies))
            fields["model"] = "scripted/script.json"
        spec = EpisodeSpec(task="battle-of-sexes", agent="command ./agent.py", **fields)
        return run_episode(spec, tmp_path / "e", on_step=on_step)

    return run


def steps(tmp_path: Path) -> list[Step]:
    return Episode.read(tmp_path / "e").steps()


def log(tmp_path: Path) -> str:
    return (tmp_path / "e" / "agent.log").read_text()


def test_a_program_is_an_agent(program: Program, tmp_path: Path) -> None:
    result = program(LOOP, ["ls", BETTER, "validate", "submit"])
    assert (result.ended, result.boundary, result.steps, result.isolation) == ("submitted", "", 4, "full")
    assert result.final and result.final["score"] == pytest.approx(1.44, abs=0.01)
    assert result.cost.calls == 4
    taken = steps(tmp_path)
    assert [step.observation.tool for step in taken] == ["bash", "bash", "validate", "submit"]
    assert [step.action.thought for step in taken][:2] == ["ls", BETTER]
    assert [step.calls for step in taken] == [1, 2, 3, 4]
    first = json.loads((tmp_path / "e" / "calls.jsonl").read_text().splitlines()[0])
    assert [message["role"] for message in first["messages"]] == ["system", "user"]
    assert "row_strategy" in first["messages"][1]["content"]
    assert result.notes == ("The program's settings of the model were not passed on (temperature): -M sets them.",)
    assert "('do', '-') 0 strategy.py" in log(tmp_path)


def test_the_command_task(program: Program, tmp_path: Path) -> None:
    result = program("""
task("tools")
task("bash", "echo one; (exit 3)")
task("create", "a b.txt", "-", given="line\\nünder\\n")
task("view", "a b.txt", "2")
task("call", "view", '{"path": "a b.txt", "start": 1, "end": 1}')
task("call", "view", "{")
task("view", "a", "1", "2", "3")
task("nothing")
task("bash", "sleep 5", "0.2")
task("submit")
task("bash", "ls")
""")
    assert (result.ended, result.cost.calls) == ("submitted", 0)
    assert [step.observation.status for step in steps(tmp_path)] == [
        *("error", "ok", "ok", "ok", "format", "timeout", "end"),
    ]
    said = log(tmp_path)
    for words in (
        "bash COMMAND TIMEOUT",
        "('bash', 'echo one; (exit 3)') 1 one\n(Exit code 3.)",
        "ünder\n",
        "('call', 'view', '{') 2  The arguments of `view` are no JSON",
        "('view', 'a', '1', '2', '3') 2  `view` takes PATH START END",
        "('nothing',) 2 There is no tool 'nothing'",
        "('bash', 'sleep 5', '0.2') 124",
        "('submit',) 0 The episode has ended.",
        "('bash', 'ls') 3  The episode has ended.",
    ):
        assert words in said


def test_one_that_ends_by_itself_gave_up(program: Program, tmp_path: Path) -> None:
    result = program('task("bash", "ls"); print("bye"); sys.exit(7)')
    assert (result.ended, result.boundary, result.scored, result.steps) == ("gave_up", "", True, 1)
    assert result.final and result.final["score"] == pytest.approx(1.02, abs=0.05)
    assert result.why == "The program ended with code 7; what it printed is in agent.log."
    assert "bye" in log(tmp_path)


def test_its_steps_are_limited(program: Program, tmp_path: Path) -> None:
    result = program('while task("bash", "ls").returncode != 3: pass\nprint("done")', limits=Limits(steps=3))
    assert (result.ended, result.steps) == ("steps", 3)
    assert "The episode has ended." in log(tmp_path) and log(tmp_path).endswith("done\n")


def test_its_budget_is_enforced(program: Program, tmp_path: Path) -> None:
    dear = [{"text": "ls", "money": 0.6}] * 5
    result = program(
        """
try:
    while True:
        task("do", ask([{"role": "user", "content": "go"}])["content"])
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode(), error.headers["x-should-retry"])
""",
        dear,
        limits=Limits(money=1.0),
    )
    assert (result.ended, result.boundary, result.scored) == ("money", "budget", True)
    assert (result.cost.calls, result.cost.money, result.steps) == (2, 1.2, 2)
    assert '429 {"error": {"message": "The episode\'s 1.00 dollars are used up."' in log(tmp_path)
    assert '"code": "insufficient_quota"}} false' in log(tmp_path)


@pytest.mark.slow
def test_one_that_does_not_hear_of_its_budget_is_stopped(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow, "GRACE_S", 0.3)
    result = program(
        """
while True:
    try:
        ask([{"role": "user", "content": "go"}])
    except urllib.error.HTTPError as error:
        error.close()
""",
        [{"text": "ls", "tokens_in": 60, "tokens_out": 50}],
        limits=Limits(tokens=100),
    )
    assert (result.ended, result.boundary, result.scored, result.cost.calls) == ("tokens", "budget", True, 1)


@pytest.mark.slow
def test_a_failing_provider_leaves_the_episode_unscored_and_it_goes_on(program: Program, tmp_path: Path) -> None:
    result = program(LOOP, ["ls"])
    assert (result.ended, result.boundary, result.scored) == ("error", "model", False)
    result = program(LOOP, ["ls", "submit"])
    assert (result.ended, result.steps, result.cost.calls) == ("submitted", 2, 2)


def test_it_goes_on_after_a_kill(program: Program, tmp_path: Path) -> None:
    def killed(step: Step, _: Any) -> None:
        if step.n == 2:
            raise KeyboardInterrupt

    replies = ["ls", BETTER, "validate", "submit"]
    with pytest.raises(KeyboardInterrupt):
        program(LOOP, replies, on_step=killed)
    before = [step.model_dump() for step in steps(tmp_path)]
    program(LOOP, ["nothing of the first two is asked again"] * 2 + replies[2:])
    assert [step.model_dump() for step in steps(tmp_path)[:2]] == before
    result = Episode.read(tmp_path / "e").result
    assert result and (result.ended, result.steps, result.cost.calls) == ("submitted", 4, 4)
    assert result.final and result.final["score"] > 1.4
    assert not any("played back" in note for note in result.notes)


@pytest.mark.slow
def test_another_order_after_a_kill_is_told(program: Program, tmp_path: Path) -> None:
    def killed(step: Step, _: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        program('task("bash", "ls")', on_step=killed)
    result = program('task("bash", "pwd"); task("submit")')
    assert [step.action.args for step in steps(tmp_path)] == [{"command": "ls"}, {}]
    assert result.notes[0].startswith("Step 1: played back, the agent chose another action")


@pytest.mark.slow
def test_without_a_model_there_is_none_to_ask(program: Program, tmp_path: Path) -> None:
    result = program("""
try:
    ask([{"role": "user", "content": "go"}])
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
""")
    assert result.ended == "gave_up" and "404" in log(tmp_path) and "-m provider/model" in log(tmp_path)


def test_on_this_machine_where_the_user_says_so(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "hidden")
    result = program(
        """
print("key", os.environ.get("SOME_API_KEY"), os.path.exists("task.md"))
url = os.environ["MLGYM_URL"] + "/tools"
try:
    urllib.request.urlopen(url, b"{}")
except urllib.error.HTTPError as error:
    print(error.code)
task("do", ask([{"role": "user", "content": "go"}])["content"])
subprocess.Popen(["sleep", "1000"])
task("submit")
""",
        ["ls"],
        unsafe=True,
    )
    assert (result.ended, result.isolation, result.backend) == ("submitted", "none", "bubblewrap")
    assert "key None True\n401\n('do', 'ls') 0 strategy.py" in log(tmp_path)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"agent": "command"}, "needs a command line"),
        ({"agent": "command "}, "needs a command line"),
        ({"agent": "command ./missing.py"}, "missing.py is no program"),
        ({"agent": "command ./folder x"}, "folder is no program"),
        ({"agent": "command true", "sandbox": "local"}, "'local' has no network of its own"),
    ],
)
def test_what_cannot_be_started_is_said(
    fields: dict[str, Any], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match=why):
        run_episode(EpisodeSpec(task="battle-of-sexes", **fields), tmp_path / "e")


def test_a_sandbox_that_does_not_start_is_a_failed_try(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(started, "first", lambda: "print('no way')")
    with pytest.raises(SandboxError, match="The program's sandbox did not start: no way"):
        program("")
    assert Episode.read(tmp_path / "e").result is None and (tmp_path / "e" / "failed.jsonl").exists()


def test_a_method_is_told_by_its_line_and_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "run").write_text("one")
    before = agents.about("command ./folder -x?")
    assert (before["agent"], before["options"]) == ("command", {"line": "./folder -x?"})
    (tmp_path / "folder" / "run").write_text("two")
    assert agents.about("command ./folder -x?")["code"] not in (before["code"], "")
    assert [agents.about(line)["code"] for line in ("command mini", "command /opt/env/bin/mini", "mcp")] == ["", "", ""]
    assert agents.asks("command mini") and agents.own_program("~/a") == Path.home() / "a"


@pytest.mark.slow
def test_the_command_line_runs_one_and_shows_it(tmp_path: Path, isolated: None) -> None:
    def mlgym(*words: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "mlgym", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)

    line = "command printf 'ls\\nvalidate' | while read -r line; do task do \"$line\"; done; task submit?x=1&y"
    ran = mlgym("run", "battle-of-sexes", "-a", line, "-o", "r")
    assert ran.returncode == 0, ran.stderr
    shown = mlgym("show", "r")
    assert shown.returncode == 0 and "gave_up" in shown.stdout
    again = mlgym("run", "battle-of-sexes", "-a", line, "-o", "r", "--unsafe")
    assert again.returncode == 2 and "isolation full against none" in again.stderr
    wrong = mlgym("run", "battle-of-sexes", "-a", "nop", "--packages", "a==1")
    assert wrong.returncode == 2 and "--packages and --unsafe belong to an agent that is a program" in wrong.stderr
    wrong = mlgym("run", "battle-of-sexes", "-a", line, "--unsafe", "--protocol", "v1")
    assert wrong.returncode == 2 and "leave out --unsafe" in wrong.stderr


@pytest.mark.slow
def test_a_client_of_mcp_has_an_episode(tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = [
        {"id": 1, "method": "initialize", "params": {"protocolVersion": "2025-06-18"}},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/list"},
        {"id": 3, "method": "tools/call", "params": {"name": "bash", "arguments": {"command": "cat nothing"}}},
        {"id": 4, "method": "tools/call", "params": {"name": "validate"}},
        {"id": 5, "method": "prompts/list"},
        {"id": 6, "method": "tools/call", "params": {"name": "bash", "arguments": 3}},
        {"id": 7, "method": "ping"},
    ]
    given = "nonsense\n" + "".join(json.dumps({"jsonrpc": "2.0", **each}) + "\n" for each in asked)
    command = [sys.executable, "-m", "mlgym", "mcp", "battle-of-sexes", "-o", str(tmp_path / "r")]
    ran = subprocess.run(command, input=given, capture_output=True, text=True, timeout=100)
    assert ran.returncode == 0, ran.stderr
    answers = {each["id"]: each for each in map(json.loads, ran.stdout.splitlines())}
    assert answers[None]["error"]["code"] == -32600
    assert answers[1]["result"]["protocolVersion"] == "2025-06-18"
    assert [tool["name"] for tool in answers[2]["result"]["tools"]][-1] == "submit"
    assert answers[3]["result"]["isError"] and "No such file" in answers[3]["result"]["content"][0]["text"]
    assert "Your scores" in answers[4]["result"]["content"][0]["text"]
    assert answers[5]["error"]["code"] == -32601 and answers[6]["error"]["code"] == -32602
    assert answers[7]["result"] == {}
    result = Episode.read(tmp_path / "r" / "battle-of-sexes" / "mcp" / "0").result
    assert result and (result.ended, result.steps, result.isolation) == ("gave_up", 2, "none")
    assert [flag.what for flag in audit(tmp_path / "r")[0]] == ["isolation"]
    assert "battle-of-sexes: gave_up after 2 steps, score on test 1.0" in ran.stderr
