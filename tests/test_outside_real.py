"""Programs that others have written: mini-swe-agent as the agent, and the official client of MCP."""

import json
import os
import shlex
import sys
from pathlib import Path

import pytest

from mlgym.environments import environment
from mlgym.episode import run_episode
from mlgym.records import EpisodeSpec, Limits
from mlgym.store import Episode

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.timeout(600)]
ROOT = Path(__file__).parent.parent
MINI, MCP = ("mini-swe-agent==2.4.6",), ("mcp==2.3.0",)
BETTER = "sed -i 's/^\\(REPEAT_[A-Z]*\\|PLAY_ONE\\) = [0-9.]*/\\1 = 0.0/' strategy.py && grep -c '= 0.0' strategy.py"
FINISHED = "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"


def test_mini_swe_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    commands = ["ls", BETTER, "validate", FINISHED]
    script = [{"text": "So:", "calls": [{"name": "bash", "arguments": {"command": each}}]} for each in commands]
    (tmp_path / "script.json").write_text(json.dumps([{**each, "money": 0.3} for each in script]))
    spec = EpisodeSpec(
        task="battle-of-sexes",
        agent="command examples/mini-swe-agent",
        model=f"scripted/{tmp_path / 'script.json'}",
        packages=MINI,
    )
    result = run_episode(spec, tmp_path / "e")
    log = (tmp_path / "e" / "agent.log").read_text()
    assert (result.ended, result.steps, result.cost.calls, result.isolation) == ("submitted", 4, 4, "full"), log
    assert result.final and result.final["score"] > 1.4
    taken = Episode.read(tmp_path / "e").steps()
    assert [step.observation.tool for step in taken] == ["bash", "bash", "validate", "submit"]
    assert taken[1].observation.text.strip() == "3"
    calls = [json.loads(line) for line in (tmp_path / "e" / "calls.jsonl").read_text().splitlines()]
    assert calls[0]["tools"] == ["bash"] and "row_strategy" in calls[0]["messages"][1]["content"]
    assert "(Left: 48 steps.)" in calls[2]["messages"][-1]["content"]
    result = run_episode(spec.changed(limits=Limits(money=0.5)), tmp_path / "poor")
    assert (result.ended, result.boundary, result.scored) == ("money", "budget", True)
    assert (result.steps, result.cost.calls) == (2, 2) and result.final and result.final["score"] > 1.4


CLIENT = """
import asyncio, json, sys
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

async def main(command, *args):
    async with Client(stdio_client(StdioServerParameters(command=command, args=args, env=ENV))) as client:
        said = [[tool.name for tool in (await client.list_tools()).tools]]
        for name, given in (("bash", {"command": "ls"}), ("bash", {}), ("submit", {})):
            answer = await client.call_tool(name, given)
            said.append([answer.content[0].text, answer.is_error])
        print(json.dumps(said))

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("where", ["outside", "inside"])
def test_the_official_client_of_mcp(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a program on the host to `mlgym mcp`, and from a program in its sandbox to `task mcp`."""
    import subprocess

    monkeypatch.chdir(tmp_path)
    if where == "inside":
        env = "__import__('os').environ.copy()"
        (tmp_path / "client.py").write_text(f"#!/opt/env/bin/python\nENV = {env}\n{CLIENT}")
        (tmp_path / "client.py").chmod(0o755)
        spec = EpisodeSpec(task="battle-of-sexes", agent="command ./client.py task mcp", packages=MCP)
        result = run_episode(spec, tmp_path / "e")
        packages, said = (tmp_path / "e" / "agent.log").read_text().split("\n", 1)
        assert packages.startswith("Packages: ") and "mcp==2.3.0" in packages and "pydantic==" in packages
    else:
        python = environment(MCP, whole=False) / "bin" / "python"
        served = [sys.executable, "-m", "mlgym", "mcp", "battle-of-sexes", "-o", "r"]
        command = [str(python), "-c", f"ENV = {dict(os.environ)!r}\n{CLIENT}", *served]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=100)
        assert ran.returncode == 0, ran.stderr
        said = ran.stdout
        found = Episode.read(tmp_path / "r" / "battle-of-sexes" / "mcp" / "0").result
        assert found
        result = found
    assert (result.ended, result.steps) == ("submitted", 3), shlex.quote(said)
    tools, ls, malformed, submit = json.loads(said)
    assert tools[0] == "bash" and tools[-1] == "submit"
    assert ls == ["strategy.py\n(Left: 49 steps.)", False]
    assert malformed[1] and "needs `command`" in malformed[0]
    assert submit == ["The episode has ended.", False]
