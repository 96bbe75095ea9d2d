"""The rollout of an episode: what the agent does next, the step that comes of it, and the result at the end."""

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from mlgym import models, onward, outcome, outside
from mlgym.agents.branches import Straight, straight
from mlgym.allocator import Share
from mlgym.cast import Say, agent_for, backend_for, memory_for, papers_for
from mlgym.env import END, ResearchEnv
from mlgym.errors import (
    BudgetError,
    MlgymError,
    ModelError,
    SandboxError,
    Stopped,
    StorageError,
    UsageError,
)
from mlgym.halt import Halt
from mlgym.kept import Kept
from mlgym.marks import Marks, mark
from mlgym.models.metered import Metered
from mlgym.names import PROGRAM, split
from mlgym.records import Action, Attempt, Checkpoint, Cost, EpisodeSpec, Observation, Restore, Result, Split, Step
from mlgym.store import Episode
from mlgym.task import load_task
from mlgym.watch import Watch
from mlgym.wrappers import Limited, Progress

# In the words of torch, of CUDA itself and of XLA.
OUT_OF_MEMORY = re.compile("CUDA out of memory|CUDA error: out of memory|CUDA_ERROR_OUT_OF_MEMORY|RESOURCE_EXHAUSTED")
GAVE_UP = Action(tool=END, args={"reason": "gave_up"})
RESCUES = 3
SPLITS: tuple[Split, ...] = ("validation", "test")
UNSCORED = ("model", "grader")  # a fault of these is the infrastructure's; a lost sandbox may be the agent's own doing
OnStep = Callable[[Step, Attempt | None], None]


class Lost(Exception):
    """The sandbox was lost at step `n`: `live`, before that was recorded; `last`, in the playback that followed."""

    def __init__(self, n: int, why: str, *, live: bool = False, last: bool = False) -> None:
        self.n, self.why, self.live, self.last = n, why, live, last


def _done(action: Action, marks: Sequence[str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What an agent did, but for the names that a provider has for it."""
    return action.model_dump(exclude={"id", "call"}), tuple(marks)


class Rollout:
    """The state of one running episode."""

    def __init__(
        self,
        spec: EpisodeSpec,
        store: Episode,
        on_step: OnStep,
        say: Say,
        lost: Sequence[Lost],
        share: Share,
        notes: Sequence[str],
        halt: Halt,
    ) -> None:
        self.spec, self.store, self.on_step, self.lost, self.halt = spec, store, on_step, lost, halt
        self.share = share
        self.notes: list[str] = [*notes]
        for one in lost:
            how = "It could not be set up again." if one.last else "It was set up again by playback."
            self.notes.append(f"Step {one.n}: {one.why} {how}")
        self._say = say
        task = load_task(spec.task)
        if task.version != spec.version:
            raise UsageError(
                f"The episode in {store.folder} was made with version {spec.version} of {task.name}, here is version "
                f"{task.version}: choose another folder with -o."
            )
        self.research = ResearchEnv(
            task,
            sandbox=backend_for(spec, self.say),
            tools=spec.tools,
            feedback=spec.feedback,
            limits=spec.limits,
            python=spec.python,
            processors=share.cpus,
            gpus=share.gpus,
            network=spec.network,
            memory=memory_for(spec, store, task),
            papers=papers_for(spec),
        )
        self.research.on_network, halt.holds = self._asked, self.research
        self.limited = Limited(self.research)
        self.env = Progress(self.limited)
        self.model: Metered | None = None
        if spec.model:
            model = models.load(spec.model, base_url=spec.base_url, sampling=spec.sampling, seed=spec.seed)
            self.model = Metered(
                model,
                spec.limits,
                replay=store.replies(),
                on_call=store.add_call,
                facts=store.facts(),
                on_facts=store.add_facts,
            )
            self.model.before, self.model.doubts = halt.check_call, split(spec.agent)[0] == PROGRAM
        self.agent = agent_for(spec, task, store) or outside.agent(
            spec, store.folder / "agent.log", share.cpus, self.say, halt.check
        )
        self.held = contextlib.ExitStack()
        self.kept = Kept(store, self.research)
        self.watch = Watch(store, self.research)
        self.steps: list[Step] = []
        self.copied = onward.copied(spec)
        self.boundary = self.why = ""
        self.marks: list[str] = []
        self.lasting = self.unsaved = False

    def say(self, note: str) -> None:
        """Tell the user, and keep it for the result."""
        self.notes.append(note)
        self._say(note)

    def close(self) -> None:
        """End the agent, the sandbox and the grader, and close the model's connections."""
        with contextlib.suppress(Exception):
            self.held.close()
        self.env.close()
        if self.model:
            self.model.close()

    def run(self) -> Result:
        """Drive the agent to the end of the episode, then write the result.

        Raises SandboxError where no sandbox starts, or none that carries the recorded steps: nothing is written then,
        and the same command tries again.
        """
        recorded = self.store.steps()
        self.recorded = len(recorded)
        if recorded:
            self._say(f"Playing back {len(recorded)} recorded steps.")
        self.halt.check()
        self.env.reset(seed=self.spec.seed)
        self.saved = Marks(self.research)
        self.watch.begin(len(recorded))
        flow = straight(self.agent(self.research.brief, self.model))
        self.held.callback(flow.close)
        observation: Observation | None = None
        ended, info = False, dict[str, Any]()
        if self.lost and self.lost[-1].last:
            _, ended, info = self._passed(recorded, self.lost[-1].why)
        while not ended:
            old = recorded[len(self.steps)] if len(self.steps) < len(recorded) else None
            if self.model:
                self.model.closed = self._stuck(old)
            self.halt.check()
            action, model_s = self._next(flow, observation, old)
            self.halt.check()
            observation, ended, info = self._step(action, model_s, old)
        with contextlib.suppress(Exception):
            flow.close()
        if self.model:
            self.model.drain()
        self.boundary, self.why = self.boundary or info.get("boundary", ""), self.why or info.get("why", "")
        self.lasting |= info.get("lasting", False)
        ended_how = info.get("ended") or ("submitted" if "final" in info else "error")
        scored = info["scored"] and self.boundary not in UNSCORED
        return self._finish(ended_how, scored)

    def _next(self, flow: Straight, observation: Observation | None, old: Step | None) -> tuple[Action, float]:
        """The agent's next action and the model's seconds; its end, or its failure, is the action `end`."""
        self.marks = []
        if old is not None:
            self._go_over(old)
            if old.action.tool == END:
                self.boundary, self.why = old.action.args.get("boundary", ""), old.action.args.get("why", "")
                return old.action, old.model_s
        before = self.model.cost.model_s if self.model else 0.0
        try:
            action = self._chosen(flow, observation, live=old is None)
        except (UsageError, StorageError, Stopped, Lost):
            raise
        except (Exception, SystemExit) as error:  # a bad episode is a result
            action = self._ended(error)
        seconds = (self.model.cost.model_s if self.model else 0.0) - before
        if old is None:
            return action, seconds
        if _done(action, self.marks) != _done(old.action, old.marks):
            self._differs(old)
        return old.action, old.model_s

    def _go_over(self, old: Step) -> None:
        """Save and go back as was done before a recorded step."""
        for each in old.marks:
            if self.saved.unknown(each):
                raise UsageError(
                    f"{self.store.folder} has the mark {each!a} at step {old.n}, which cannot be followed."
                )
            try:
                self._mark(each)
            except SandboxError as error:
                self._trapped(str(error))
                raise

    def _trapped(self, why: str) -> None:
        """Raise Lost for the last time where the agent may have lost the sandbox to have its playback fail: then the
        attempts that were recorded count.
        """
        if any(one.live for one in self.lost):
            raise Lost(len(self.steps) + 1, why, last=True)

    def _passed(self, recorded: Sequence[Step], why: str) -> tuple[Observation, bool, dict[str, Any]]:
        """End the episode after its recorded steps without playing them back."""
        inner = self.research
        for old in recorded:
            self.env.best = inner.passed(old, self.env.best)
            self.steps.append(old)
        self.limited.steps = len(recorded)
        inner.session.shell.stop()
        return self._step(self._failed("error", SandboxError.boundary, SandboxError(why)), 0.0, None)

    def _chosen(self, flow: Straight, observation: Observation | None, live: bool) -> Action:
        """The agent's next action; what it saves and goes back to before that is done now if it is `live`."""
        move = next(flow) if observation is None else flow.send(observation)
        while isinstance(move, Checkpoint | Restore):
            done = mark(move)
            if live:
                if why := self.saved.unknown(done):
                    raise ValueError(why)
                self._mark(done)
            self.marks.append(done)
            move = flow.send(Observation(text="", **self._left()))
        return GAVE_UP if move.tool == END else move

    def _mark(self, done: str) -> None:
        """Save or go back; raises Lost or SandboxError where that cannot be done, which may be the agent's doing."""
        try:
            self.saved.do(done)
        except SandboxError as error:
            self.halt.check()
            if self.research.lost:  # else it is what the agent made that cannot be saved, and would not be again
                self._rescued(str(error))
            self.unsaved = True
            raise

    def _settle(self) -> None:
        """Bring the sandbox to where the agent went back to; one lost thereby raises Lost, or the step finds it."""
        try:
            self.saved.settle()
        except SandboxError as error:
            self.halt.check()
            self._rescued(str(error))

    def _rescued(self, why: str) -> None:
        """Raise Lost where a sandbox that was lost is set up again."""
        n = len(self.steps) + 1
        if len(self.lost) < RESCUES and n not in [one.n for one in self.lost]:
            self._say(f"Step {n}: {why} It is set up again by playing back what was recorded.")
            raise Lost(n, why, live=n > self.recorded)

    def _left(self) -> dict[str, Any]:
        """What is left, as fields of an observation."""
        return {
            "steps_left": self.limited.steps_left,
            "seconds_left": self.limited.seconds_left,
            "money_left": self.model.money_left if self.model else None,
        }

    def _differs(self, old: Step) -> None:
        if stuck := self._stuck(old):
            raise UsageError(stuck)
        self.say(f"Step {old.n}: played back, the agent chose another action than the recorded one, which was kept.")

    def _stuck(self, old: Step | None) -> str:
        """What is wrong where the agent does not take the next step as it was taken by another episode's."""
        if old is None or old.n > self.copied:
            return ""
        return (
            f"The agent {self.spec.agent} does not choose the recorded action of step {old.n}, so it cannot go on from "
            f"{self.spec.source}: name the agent and the options that made it."
        )

    def _ended(self, error: BaseException) -> Action:
        """The action `end` for what came out of the agent; what its code raises is its own."""
        if isinstance(error, StopIteration):
            self.why = error.value if isinstance(error.value, str) else ""
            return GAVE_UP.changed(args={**GAVE_UP.args, "why": self.why}) if self.why else GAVE_UP
        if isinstance(error, SandboxError) and not (self.research.lost or self.unsaved):  # that of a program
            raise error
        if isinstance(error, BudgetError):
            return self._failed(error.limit, error.boundary, error)
        return self._failed("error", error.boundary if isinstance(error, ModelError | SandboxError) else "agent", error)

    def _failed(self, reason: str, boundary: str, error: BaseException) -> Action:
        self.boundary, self.lasting = boundary, getattr(error, "lasting", False) is True
        self.why = str(error) if isinstance(error, MlgymError) else f"{type(error).__name__}: {error}"
        return Action(tool=END, args={"reason": reason, "boundary": boundary, "why": self.why})

    def _step(self, action: Action, model_s: float, old: Step | None) -> tuple[Observation, bool, dict[str, Any]]:
        inner = self.research
        grader_before = inner.attempts.grader_s
        inner.replayed = old
        self._settle()
        _, reward, terminated, truncated, info = self.env.step(action)
        over = terminated or truncated
        self.saved.acted()
        if inner.lost and not (self.lost and self.lost[-1].last):
            self.halt.check()
            self._rescued(str(info.get("why") or "The sandbox was lost."))
        if old is not None and info.get("boundary") == "sandbox" and old.observation.status != "error":
            self._trapped(info["why"])
            raise SandboxError(f"{info['why']} It carried the recorded steps the first time; the same command goes on.")
        self.kept.add_new()
        starved = self._starved(info) if old is None else ""
        if starved:
            info, over = {**info, "scored": False, "boundary": "sandbox", "why": starved}, True
        observation = Observation.model_validate(info["observation"]).changed(**self._left(), id=action.id)
        if old is not None:
            if observation.text != old.observation.text:
                self.say(f"Step {old.n}: played back, its observation differed from the recorded one, which was kept.")
            self.steps.append(old)
            return old.observation, over, info
        step = Step(
            n=len(self.steps) + 1,
            action=action,
            observation=observation,
            reward=float(reward) if info["scored"] and self.boundary not in UNSCORED else None,
            command_s=inner.command_s,
            model_s=model_s,
            grader_s=inner.attempts.grader_s - grader_before,
            attempt=info["attempt"]["n"] if "attempt" in info else None,
            calls=self.model.cost.calls if self.model else 0,
            marks=tuple(self.marks),
        )
        self.watch.record(step.n, step.marks)
        self.store.add_step(step)
        self.steps.append(step)
        self.on_step(step, self.kept.by_n[step.attempt] if step.attempt is not None else None)
        return observation, over, info

    def _starved(self, info: dict[str, Any]) -> str:
        """Why the step ran out of a card's memory without fault: others took what was promised; empty otherwise."""
        if not self.share.gpus or not OUT_OF_MEMORY.search(info["observation"]["text"]):
            return ""
        which = self.share.starved()
        return which and f"The step ran out of memory on {which}: the same command tries again."

    def _asked(self, asked: dict[str, Any]) -> None:
        """Keep what host the sandbox asked for; a playback's is kept already."""
        if self.research.replayed is None:
            self.store.add_asked(asked)

    def _used(self) -> list[str]:
        """A note of how the network was used."""
        if self.spec.network is None:
            return []
        asked = self.store.asked()
        refused = Counter(one["host"] for one in asked if not one["allowed"])
        most = f" ({', '.join(name for name, _ in refused.most_common(3))})" if refused else ""
        to = ", ".join(self.spec.network) or "all hosts"
        return [f"The network was open to {to}: asked {len(asked)} times, refused {refused.total()}{most}."]

    def _finish(self, ended: str, scored: bool) -> Result:
        """Grade the earlier attempts on both splits, off the agent's clock, and write the result."""
        try:
            self.notes += self.kept.score_all()
        except StorageError:
            raise
        except MlgymError as error:
            self.boundary, self.why, scored = error.boundary, str(error), False
        research = self.research
        agent_steps = [step for step in self.steps if step.action.tool != END]
        result = outcome.result(
            self.kept.by_n.values(),
            research.task,
            progress=lambda scores: research.progress(scores, "test") if scored else None,
            ended=ended,
            boundary=self.boundary,
            why=self.why,
            baseline={name: research.baseline(name) for name in SPLITS},
            scored=scored,
            lasting=self.lasting and not scored,
            steps=len(agent_steps),
            cost=(self.model.cost if self.model else Cost()).changed(
                command_s=sum(step.command_s for step in self.steps),
                grader_s=sum(step.grader_s for step in self.steps),
                cpu_s=research.cpu_s,
            ),
            hits=dict(Counter(step.observation.hit for step in self.steps if step.observation.hit)),
            isolation="none" if self.spec.unsafe else research.backend.isolation,
            backend=research.backend.name,
            feedback=self.spec.feedback,
            oracle=split(self.spec.agent)[0] == "oracle",
            data=research.prepared.data if research.prepared else "",
            python=research.prepared.python if research.prepared else "",
            processors=self.share.processors,
            gpus=self.share.gpus,
            network=self.spec.network,
            source=self.spec.source,
            notes=(*self.notes, *self._used()),
        )
        self.store.finish(result)
        return result
