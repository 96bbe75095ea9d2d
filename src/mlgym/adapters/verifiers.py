"""verifiers: a taskset of tasks or of a family's endless ones, and a harness that plays an episode in this process.

Found by its programs under the name `mlgym_verifiers`. This module imports verifiers, so nothing here imports it.
"""

import asyncio
import itertools
import json
import time
from collections.abc import Iterable, Iterator
from typing import Any

import verifiers.v1 as vf
from openai import AsyncOpenAI

from mlgym.env import END
from mlgym.errors import UsageError
from mlgym.records import Action
from mlgym.session import LocalSession
from mlgym.task import Task, for_training, load_task, load_tasks

GIVE_UP = 3  # replies in a row without an action


class MlgymConfig(vf.TasksetConfig):  # type: ignore[misc]
    """Which tasks: `tasks` (names, folders, suites), or the `family` whose tasks of this `difficulty` never end.

    Each has so many `seeds`. Tasks of the benchmark's own are for evaluation: training says `include_eval = false`.
    """

    tasks: list[str] = []  # noqa: RUF012 - a model of pydantic
    family: str = ""
    difficulty: float = 0.5
    seeds: int = 1
    include_eval: bool = True


class MlgymData(vf.TaskData):  # type: ignore[misc]
    """A task's name and the seed of an episode of it."""

    task: str
    seed: int = 0


class MlgymTask(vf.Task[MlgymData]):  # type: ignore[misc]
    """An episode, whose reward the harness has left in the trace."""

    @vf.reward  # type: ignore[untyped-decorator]
    async def reward(self, trace: Any) -> float:
        """The sum of the episode's rewards."""
        return float(trace.info["mlgym"]["reward"])

    @vf.metric  # type: ignore[untyped-decorator]
    async def parts(self, trace: Any) -> dict[str, float]:
        """The components of the reward, and the steps taken."""
        return {**trace.info["mlgym"]["parts"], "steps": float(trace.info["mlgym"]["steps"])}


class MlgymTaskset(vf.Taskset[MlgymTask, MlgymConfig]):  # type: ignore[misc]
    """The tasks of the configuration; endless where it names a family."""

    def __init__(self, config: MlgymConfig) -> None:
        super().__init__(config)
        self.INFINITE = bool(config.family)
        if bool(config.family) == bool(config.tasks):
            raise UsageError("Say which tasks, or which family: --env.taskset.tasks NAME or --env.taskset.family NAME.")

    def load(self) -> Iterator[MlgymTask]:
        """Each task with each seed."""
        tasks: Iterable[Task] = for_training(load_tasks(self.config.tasks), self.config.include_eval)
        if self.config.family:
            given = f"{self.config.family}-s{{}}-d{self.config.difficulty:g}"
            tasks = (load_task(given.format(seed)) for seed in itertools.count())
        for task, seed in ((task, seed) for task in tasks for seed in range(self.config.seeds)):
            data = MlgymData(name=f"{task.name}/{seed}", prompt=task.told, task=task.reference, seed=seed)
            yield MlgymTask(data, self.config.task)


class HarnessConfig(vf.HarnessConfig):  # type: ignore[misc]
    """`reward` as for `session.LocalSession`; after `deadline` seconds an episode is graded as it stands."""

    reward: str = "shaped"
    sandbox: str = "auto"
    deadline: float | None = None


class MlgymHarness(vf.Harness[HarnessConfig]):  # type: ignore[misc]
    """Plays an episode in this process: the model's calls of tools are its actions."""

    EXECUTES_CODE = False  # in the runtime of verifiers: the episode has a sandbox of its own
    NEEDS_CONTAINER = False

    async def launch(
        self, ctx: Any, trace: Any, runtime: Any, endpoint: str, secret: str, mcp_urls: Any, data: Any
    ) -> Any:
        """One episode. One that is not scored raises RuntimeError: it is an error of the trace, and has no reward."""
        session = LocalSession(data.task, reward=self.config.reward, sandbox=self.config.sandbox)
        if self.config.deadline is not None:
            session.deadline = time.monotonic() + self.config.deadline
        try:
            brief = await asyncio.to_thread(session.reset, data.seed)
            async with AsyncOpenAI(base_url=endpoint, api_key=secret, max_retries=0) as client:
                await self._play(session, client, ctx.model, [{"role": "user", "content": brief}])
            last = await asyncio.to_thread(session.finish, "gave_up")
        finally:
            await asyncio.to_thread(session.close)
        if session.reward is None:
            raise RuntimeError(f"the episode is not scored: {last.info.get('why') or 'a fault of the infrastructure'}")
        told = {"parts": session.parts, "steps": session.steps, "status": session.status, "progress": session.progress}
        trace.info["mlgym"] = {"reward": session.reward, **told}
        return vf.ProgramResult(0, "", "")

    async def _play(self, session: LocalSession, client: AsyncOpenAI, model: str, messages: list[Any]) -> None:
        """Until the episode ends, or the model has given up."""
        tools: Any = list(session.brief.tools)
        idle = 0
        while not session.done and idle < GIVE_UP:
            answer: Any = await client.chat.completions.create(model=model, messages=messages, tools=tools)
            reply = answer.choices[0].message
            messages.append(reply.model_dump(exclude_none=True))
            idle = 0 if reply.tool_calls else idle + 1
            for call in reply.tool_calls or ():
                action = _action(call.function.name, call.function.arguments)
                outcome = await asyncio.to_thread(session.act, action)
                messages.append({"role": "tool", "tool_call_id": call.id, "content": outcome.text})
            if not reply.tool_calls:
                outcome = await asyncio.to_thread(session.act, _none(reply.content or ""))
                messages.append({"role": "user", "content": outcome.text})


def _action(name: str, arguments: str) -> Action:
    """The call as an action; one whose arguments are no JSON object is a reply without an action, and so is a call of
    what only a driver may do. Nothing that a model writes here may raise: that would leave its episode out.
    """
    try:
        args = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        args = None
    return Action(tool=name, args=args) if isinstance(args, dict) and name != END else _none(f"{name} {arguments}")


def _none(reply: str) -> Action:
    return Action(tool="none", args={"reply": reply[:2000]})
