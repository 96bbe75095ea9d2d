"""One episode: the only place where agent, model, environment and store meet.

However it ends, its state is graded on the test split and the result written last. Running it again on the same folder
goes on: recorded actions are played back off the clock, the agent is fed the recorded observations and the recorded
replies of the model, recorded attempts are not graded again.
"""

import contextlib
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from mlgym import agents, beside, models, onward, outcome, outside
from mlgym.allocator import Allocator, Share, Want
from mlgym.cache import cache_dir
from mlgym.disk import full, is_full
from mlgym.env import END, ResearchEnv
from mlgym.errors import (
    BudgetError,
    MlgymError,
    ModelError,
    SandboxError,
    SourceError,
    Stopped,
    StorageError,
    UsageError,
)
from mlgym.halt import Halt
from mlgym.memory import RUN, Memory
from mlgym.models.metered import Metered
from mlgym.names import MCP, PROGRAM, resolve, split
from mlgym.records import Action, Attempt, Cost, EpisodeSpec, Observation, Result, Split, Step
from mlgym.sandbox import cgroups, choose, scratch
from mlgym.sandbox.local import Local
from mlgym.sandbox.scratch import sweep
from mlgym.store import Episode, episode_folder, method, slug
from mlgym.task import Task, load_task
from mlgym.wrappers import Limited, Progress

# In the words of torch, of CUDA itself and of XLA.
OUT_OF_MEMORY = re.compile("CUDA out of memory|CUDA error: out of memory|CUDA_ERROR_OUT_OF_MEMORY|RESOURCE_EXHAUSTED")
GAVE_UP = Action(tool=END, args={"reason": "gave_up"})
RESCUES = 3
RUN_NOTES = "memory"  # in a run's folder
SPLITS: tuple[Split, ...] = ("validation", "test")
UNSCORED = ("model", "grader")  # a fault of these is the infrastructure's; a lost sandbox may be the agent's own doing
OnStep = Callable[[Step, Attempt | None], None]
Say = Callable[[str], None]


def run_episode(
    spec: EpisodeSpec,
    folder: Path,
    *,
    on_step: OnStep = lambda *_: None,
    say: Say = lambda _: None,
    allocator: Allocator | None = None,
    halt: Halt | None = None,
) -> Result:
    """Run the episode of `spec` in `folder`, or go on with it, or return its result if it is done.

    `on_step` is called after each step that is not a playback, `say` with one-line notes. An unscored result, which a
    fault of the provider or the grader left, is gone on with too. Raises UsageError for what the user must mend,
    SandboxError where no sandbox starts and SourceError where data cannot be had, both kept as a failed try,
    StorageError where the disk is full, and Stopped where `halt` was asked; any other failure is a result that names
    the boundary it crossed.

    A lost sandbox is set up again by playing the recorded steps back, RESCUES times in all and once for a step: lost
    twice at the same step, it counts as the agent's own doing. An `allocator` gives processors and cards for the time
    of the episode, which waits for them; without one it runs wherever the machine lets it.
    """
    store = Episode.open(folder, spec)
    with contextlib.closing(store), halt or Halt() as halt:
        if store.result is not None:
            tidy(allocator)
            return store.result
        if spec.source:
            onward.begin(store, spec)
        try:
            return _driven(spec, store, on_step, say, allocator, halt)
        except (SandboxError, SourceError) as error:
            halt.check()
            beside.add_try(folder, error.boundary, str(error))
            raise


def tidy(allocator: Allocator | None = None) -> None:
    """Take away what a process left that was killed after its last word."""
    for place in (cache_dir() / "scratch", Path(tempfile.gettempdir())):
        sweep(place)
    cgroups.own()
    if allocator:
        allocator.sweep()


def _driven(
    spec: EpisodeSpec, store: Episode, on_step: OnStep, say: Say, allocator: Allocator | None, halt: Halt
) -> Result:
    """The episode with its share of the machine, set up again as often as its sandbox is lost."""
    lost: list[_Lost] = []
    notes: list[str] = []
    with _claimed(spec, allocator, say, notes, halt) as share:
        while True:
            try:
                with contextlib.closing(_Drive(spec, store, on_step, say, lost, share, notes, halt)) as drive:
                    return drive.run()
            except _Lost as error:
                lost.append(error)
            except OSError as error:
                if is_full(error):
                    raise full(Path(error.filename).parent if error.filename else cache_dir()) from error
                raise


def want(spec: EpisodeSpec) -> Want:
    """What an episode asks of the machine."""
    limits = load_task(spec.task).limits
    return Want(spec.processors or limits.processors, limits.gpus, limits.gpu_memory)


@contextlib.contextmanager
def _claimed(spec: EpisodeSpec, allocator: Allocator | None, say: Say, notes: list[str], halt: Halt) -> Iterator[Share]:
    """The episode's share of the machine; where that is less than it asked for, a note says so."""
    if allocator is None:
        yield Share()
        return
    asked = want(spec)
    with allocator.claim(asked, say, halt.check) as share:
        say(f"It has {share}.")
        if share.processors < asked.processors:
            notes.append(f"{asked.processors:g} processors were asked for, and {share.processors:g} given.")
        yield share


class _Lost(Exception):
    """The sandbox was lost at step `n`, which was not recorded."""

    def __init__(self, n: int, why: str) -> None:
        self.n, self.why = n, why


def backend_for(spec: EpisodeSpec, say: Say) -> str:
    """The backend's name; where nothing isolates, shipped agents without a model go on in `local`, said in a line."""
    try:
        backend = choose(spec.sandbox)
    except SandboxError as error:
        shipped = split(spec.agent)[0] in agents.NICKNAMES and not spec.model
        if spec.sandbox != "auto":
            raise SandboxError(str(error), lasting=True) from error
        if not shipped:
            raise SandboxError(f"{error} Or ask for no isolation by name, with --sandbox local.", True) from error
        say(f"No isolation on this machine, but the agent is shipped code, so it runs without (local): {error}")
        return "local"
    if backend.isolation == "none":
        say(Local.warning)
    return backend.name


class _Drive:
    """The state of one running episode."""

    def __init__(
        self,
        spec: EpisodeSpec,
        store: Episode,
        on_step: OnStep,
        say: Say,
        lost: Sequence[_Lost],
        share: Share,
        notes: Sequence[str],
        halt: Halt,
    ) -> None:
        self.spec, self.store, self.on_step, self.lost, self.halt = spec, store, on_step, lost, halt
        self.share = share
        self.notes: list[str] = [*notes]
        self.notes += [f"Step {one.n}: {one.why} It was set up again by playback." for one in lost]
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
            memory=_memory(spec, store, task),
            papers=resolve("mlgym.papers:open_papers", {}, "source of papers")(spec.papers) if spec.papers else None,
        )
        self.research.on_network, halt.holds = self._asked, self.research
        self.limited = Limited(self.research)
        self.env = Progress(self.limited)
        self.model: Metered | None = None
        if spec.model:
            model = models.load(spec.model, base_url=spec.base_url, sampling=spec.sampling)
            self.model = Metered(model, spec.limits, replay=store.replies(), on_call=store.add_call)
            self.model.before = halt.check_call
        self.agent = _agent(spec, task) or outside.agent(
            spec, store.folder / "agent.log", share.cpus, self.say, halt.check
        )
        self.held = contextlib.ExitStack()
        self.kept = {attempt.n: attempt for attempt in store.attempts()}
        self.research.recorded, self.research.checkout = dict(self.kept), store.checkout
        self.steps: list[Step] = []
        self.copied = onward.copied(spec)
        self.boundary = self.why = ""
        self.lasting = False

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
        if recorded:
            self._say(f"Playing back {len(recorded)} recorded steps.")
        self.halt.check()
        self.env.reset(seed=self.spec.seed)
        flow = self.agent(self.research.brief, self.model)
        self.held.callback(flow.close)
        observation: Observation | None = None
        ended, info = False, dict[str, Any]()
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
        ended_how = info.get("ended") or ("submitted" if "final" in info else "error")
        scored = info["scored"] and self.boundary not in UNSCORED
        return self._finish(ended_how, scored)

    def _next(
        self, flow: Generator[Any, Any, None], observation: Observation | None, old: Step | None
    ) -> tuple[Action, float]:
        """The agent's next action and the model's seconds; its end, or its failure, is the action `end`."""
        if old is not None and old.action.tool == END:
            self.boundary, self.why = old.action.args.get("boundary", ""), old.action.args.get("why", "")
            return old.action, old.model_s
        before = self.model.cost.model_s if self.model else 0.0
        try:
            action = next(flow) if observation is None else flow.send(observation)
            if action.tool == END:
                action = GAVE_UP
        except StopIteration:
            action = GAVE_UP
        except (UsageError, StorageError, Stopped, SandboxError):  # the last: of an agent that is a program
            raise
        except BudgetError as error:
            action = self._failed(error.limit, error.boundary, error)
        except ModelError as error:
            action = self._failed("error", error.boundary, error)
        except (Exception, SystemExit) as error:  # a bad episode is a result: what the agent's code raises is its own
            action = self._failed("error", "agent", error)
        seconds = (self.model.cost.model_s if self.model else 0.0) - before
        if old is None:
            return action, seconds
        if action.model_dump(exclude={"id", "call"}) != old.action.model_dump(exclude={"id", "call"}):
            self._differs(old)
        return old.action, old.model_s

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

    def _failed(self, reason: str, boundary: str, error: BaseException) -> Action:
        self.boundary, self.lasting = boundary, getattr(error, "lasting", False) is True
        self.why = str(error) if isinstance(error, MlgymError) else f"{type(error).__name__}: {error}"
        return Action(tool=END, args={"reason": reason, "boundary": boundary, "why": self.why})

    def _step(self, action: Action, model_s: float, old: Step | None) -> tuple[Observation, bool, dict[str, Any]]:
        inner = self.research
        grader_before = inner.attempts.grader_s
        inner.replayed = old
        _, reward, terminated, truncated, info = self.env.step(action)
        over = terminated or truncated
        n = len(self.steps) + 1
        if inner.lost:
            self.halt.check()
        if inner.lost and len(self.lost) < RESCUES and n not in [one.n for one in self.lost]:
            why = str(info.get("why") or "The sandbox was lost.")
            self._say(f"Step {n}: {why} It is set up again by playing back what was recorded.")
            raise _Lost(n, why)
        if old is not None and info.get("boundary") == "sandbox" and old.observation.status != "error":
            raise SandboxError(f"{info['why']} It carried the recorded steps the first time; the same command goes on.")
        self._keep_attempts()
        starved = self._starved(info) if old is None else ""
        if starved:
            info, over = {**info, "scored": False, "boundary": "sandbox", "why": starved}, True
        observation = Observation.model_validate(info["observation"]).changed(
            seconds_left=self.limited.seconds_left,
            money_left=self.model.money_left if self.model else None,
            id=action.id,
        )
        if old is not None:
            if observation.text != old.observation.text:
                self.say(f"Step {old.n}: played back, its observation differed from the recorded one, which was kept.")
            self.steps.append(old)
            return old.observation, over, info
        step = Step(
            n=n,
            action=action,
            observation=observation,
            reward=float(reward) if info["scored"] and self.boundary not in UNSCORED else None,
            command_s=inner.command_s,
            model_s=model_s,
            grader_s=inner.attempts.grader_s - grader_before,
            attempt=info["attempt"]["n"] if "attempt" in info else None,
            calls=self.model.cost.calls if self.model else 0,
        )
        self.store.add_step(step)
        self.steps.append(step)
        self.on_step(step, self.kept[step.attempt] if step.attempt is not None else None)
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

    def _keep_attempts(self) -> None:
        """Store the attempts that are new, with their files."""
        for attempt in self.research.attempts.made:
            if self.kept.get(attempt.n) == attempt:
                continue
            files = self.research.attempts.frozen.get(attempt.n)
            self.store.add_attempt(attempt, [files, files.with_name("code")] if files else [])
            self.kept[attempt.n] = attempt
            self.store.prune(filter(None, (attempt, outcome.selected(self.kept.values(), self.research.task))))

    def _finish(self, ended: str, scored: bool) -> Result:
        """Grade the earlier attempts on both splits, off the agent's clock, and write the result."""
        try:
            self._score_earlier()
        except StorageError:
            raise
        except MlgymError as error:
            self.boundary, self.why, scored = error.boundary, str(error), False
        research = self.research
        agent_steps = [step for step in self.steps if step.action.tool != END]
        result = outcome.result(
            self.kept.values(),
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

    def _score_earlier(self) -> None:
        for n, attempt in sorted(self.kept.items()):
            if not attempt.valid or (attempt.test is not None and attempt.validation is not None):
                continue
            with scratch(cache_dir() / "scratch") as folder:
                try:
                    files = self.store.checkout(attempt.files, folder)
                except FileNotFoundError:
                    self.notes.append(f"Attempt {n}: its files were let go for space, so it has no test score.")
                    continue
                self.kept[n] = self.research.attempts.complete(attempt, files)
            self.store.add_attempt(self.kept[n])


def _agent(spec: EpisodeSpec, task: Task) -> agents.Agent | None:
    """The agent, given what only the episode may hand out: recorded actions, or the hidden solution; None for one from
    outside.
    """
    name, options = split(spec.agent)
    if name in (PROGRAM, MCP):
        return None
    if name == "oracle":
        return agents.load(spec.agent, files=_solution(task))
    if name == "replay":
        folder = options.get("episode")
        if not folder or len(options) > 1:
            raise UsageError("The agent replay needs a recorded episode and nothing else: replay?episode=FOLDER.")
        actions = [step.action for step in Episode.read(Path(str(folder))).steps() if step.action.tool != END]
        return agents.load(name, actions=actions)
    return agents.load(spec.agent)


def _memory(spec: EpisodeSpec, store: Episode, task: Task) -> Memory | None:
    """The notes of the task and its version; those of episodes that were shown test scores are kept apart."""
    if not spec.memory:
        return None
    run = next((up for up in store.folder.parents if episode_folder(up, spec) == store.folder), store.folder)
    folder = run / RUN_NOTES if spec.memory == RUN else Path(spec.memory)
    name = slug(f"{task.name}-v{task.version}{'-test' * (spec.feedback == 'test')}")
    origin = {"task": task.name, "run": run.resolve().name, "method": method(spec), "seed": spec.seed}
    memory = Memory(folder / f"{name}.jsonl", {**origin, "episode": store.id})
    memory.cut(len(store.steps()))
    return memory


def _solution(task: Task) -> dict[str, str]:
    if task.solution is None:
        raise UsageError(f"The task {task.name} has no hidden solution, so the agent oracle cannot run on it.")
    files = (path for path in sorted(task.solution.rglob("*")) if path.is_file())
    return {str(path.relative_to(task.solution)): path.read_text() for path in files}
