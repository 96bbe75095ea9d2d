"""OpenEnv's real client plays a whole episode at `mlgym serve`, a slow action among its steps, and one at OpenEnv's own
server with our Environment.
"""

import asyncio
import json
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import uvicorn
from openenv.core import GenericEnvClient
from openenv.core.env_server import create_app

from mlgym.adapters.openenv import MlgymAction, MlgymEnvironment, MlgymObservation
from mlgym.serve import Bounds, Offer, served

TASK = "duel-s3-d0.5"
SLOW = "sleep 3; echo 1 1 1 1 1 > strategy.txt; echo done"


async def answered(client: GenericEnvClient, result: Any) -> tuple[Any, int]:
    """The answer that a job comes to, where `result` names one, and after how many polls."""
    polls = 0
    while job := result.observation["job"]:
        result, polls = await client.step({"poll": job}), polls + 1
    return result, polls


async def at_ours(address: str) -> tuple[int, float]:
    """A client that waits 1.5 seconds for a message, and loses its connection once; polls and the sum of rewards."""
    client = GenericEnvClient(base_url=address, message_timeout_s=1.5)
    async with client:
        result, _ = await answered(client, await client.reset(task=TASK, seed=1, episode_id="mine"))
        assert result.reward is None and not result.done and result.metadata["brief"]["task"] == TASK
        session = result.observation["session"]
        result = await client.step({"text": SLOW})
        assert result.observation["job"] and result.metadata["running"]
        client._ws.transport.abort()  # a dropped socket
        await client._ws.wait_closed()
        await client.connect()
        result, polls = await answered(client, await client.reset(resume=session))
        assert result.observation["text"].strip() == "done", result
        state = await client.state()
        assert state["episode_id"] == "mine" and state["step_count"] == 1, state
        result, _ = await answered(client, await client.step({"tool": "submit"}))
        assert result.done and result.metadata["status"] == "submitted", result
        return polls, result.metadata["reward"]


async def at_theirs(address: str) -> float:
    """The same at OpenEnv's server."""
    async with GenericEnvClient(base_url=address) as client:
        result = await client.reset(task=TASK, seed=1, limits={"steps": 2})
        assert result.metadata["brief"]["task"] == TASK and result.metadata["brief"]["limits"]["steps"] == 2
        await client.step({"text": SLOW})
        result = await client.step({"tool": "submit"})
        assert result.done and result.metadata["status"] == "submitted", result
        return float(result.metadata["reward"])


def lists(address: str) -> list[object]:
    """What the routes of the task provider tell."""

    def post(path: str, **more: int) -> object:
        data = json.dumps({"split": "train", **more}).encode()
        request = urllib.request.Request(f"{address}/mlgym/{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    with urllib.request.urlopen(f"{address}/mlgym/splits") as answer:
        return [json.load(answer), post("num_tasks"), post("task", index=0)]


with served(Offer([TASK]), bounds=Bounds(answer_s=0.5)) as ours:
    polls, earned = asyncio.run(at_ours(ours.address))
    told = lists(ours.address)
    program = Path(sys.executable).with_name("openenv")
    checked = subprocess.run([program, "validate", "--url", ours.address], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout

app = create_app(
    lambda: MlgymEnvironment([TASK]), MlgymAction, MlgymObservation, env_name="mlgym", max_concurrent_envs=2
)
theirs = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
thread = threading.Thread(target=theirs.run, daemon=True)
thread.start()
while not theirs.started:
    time.sleep(0.05)
address = f"http://127.0.0.1:{theirs.servers[0].sockets[0].getsockname()[1]}"
assert lists(address) == told, (lists(address), told)
same = asyncio.run(at_theirs(address))
theirs.should_exit = True
thread.join()
assert abs(same - earned) < 1e-9, (same, earned)
assert polls >= 2, polls
print(f"an episode at each server, reward {earned:.3f}; ours passed its validation; {polls} polls, a new connection")
