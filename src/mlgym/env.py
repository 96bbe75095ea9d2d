"""The environment: one task in one sandbox, one tool call a step, graded where the agent cannot reach.

`gymnasium.make("mlgym/battle-of-sexes-v1")` works once this module (or `mlgym` after gymnasium) is imported, and
`gymnasium.make("mlgym.env:mlgym/battle-of-sexes-v1")` in any process. What is registered is `rewards.environment`, with
the wrappers `Limited` (steps and command seconds) and `Progress` (the reward), and as the vector entry point
`vector.vector`; the bare environment pays 0.0.
"""

import contextlib
import copy
import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import gymnasium

from mlgym import disk
from mlgym import tools as toolbox
from mlgym.allocator import usable
from mlgym.attempts import Attempts, Checkout, Kind
from mlgym.cache import cache_dir
from mlgym.cards import cards
from mlgym.errors import GradingError, SandboxError, StorageError, UsageError
from mlgym.grading import Grader
from mlgym.grading.prepare import GENERATED, Prepared, prepare
from mlgym.made import list_families
from mlgym.memory import Memory
from mlgym.records import Action, Attempt, Brief, Limits, Observation, Scores, Split, Step
from mlgym.sandbox import WORKSPACE, Bind, SandboxLimits, SandboxSpec, choose, open_shell
from mlgym.sandbox.proxy import Proxy
from mlgym.sandbox.shell import Shell
from mlgym.sandbox.snapshots import Shelf, Snapshot, here
from mlgym.sandbox.tar import write_tar
from mlgym.task import Anchors, Task, list_tasks, load_task

END = "end"
AFTER_END = "The episode has ended: call reset() for another."
BEFORE_RESET = "The environment has no episode yet: call reset() first."


class AnyText(gymnasium.spaces.Text):
    """Any text, and `Action` records; `sample()` gives only `ls`, `pwd` and `validate`."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(max_length=2**31 - 1, min_length=0, seed=seed)

    def contains(self, x: Any) -> bool:
        """Whether `x` is text or an Action."""
        return isinstance(x, str | Action)

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """One of three harmless actions."""
        return str(self.np_random.choice(["ls", "pwd", "validate"]))


class ResearchEnv(gymnasium.Env[str, str | Action]):
    """One task, one sandbox, one tool call a step; reward 0.0 (the wrapper `Progress` pays).

    `task` is a name, a folder's path or a Task; `sandbox` a backend's name or "auto"; `tools` "modern" or "classic",
    with tools of one's own after plus signs, `memory` and `papers` what further tools use; `feedback` the split that
    `validate` shows; `python` an interpreter whose environment takes the place of the task's own. `processors` are the
    numbers of those that the episode has for itself (empty: all), `gpus` of the cards that it sees; `network` opens a
    way to these hosts (empty: all), and `on_network` is told of each that is asked for, as a dictionary and from
    another thread. Action: a text (a command line) or an Action. Observation: text.
    The Action `end` (args: reason) ends the episode, graded as it stands. `info` has `observation` (the record as a
    dictionary), `attempt` (when the step graded one), `final` (at the end) and `scored` (False after a fault of the
    infrastructure, with `boundary` and `why`). Raises UsageError for an unknown task, SandboxError where
    nothing isolates.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"]}  # noqa: RUF012 - Gymnasium declares it so

    def __init__(
        self,
        task: str | Path | Task,
        *,
        sandbox: str = "auto",
        tools: str = "modern",
        feedback: Split = "validation",
        limits: Limits | None = None,
        python: str = "",
        processors: tuple[int, ...] = (),
        gpus: tuple[int, ...] = (),
        network: tuple[str, ...] | None = None,
        memory: Memory | None = None,
        papers: toolbox.Papers | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.task = task if isinstance(task, Task) else load_task(task)
        self.tools = toolbox.toolset(tools, memory=memory is not None, papers=papers is not None)
        self.classic = tools.split("+")[0] == "classic"
        self.memory, self.papers = memory, papers
        self.feedback: Split = feedback
        self.limits = limits or self.task.episode_limits
        self.python = python
        self.render_mode = render_mode
        self.backend = choose(sandbox)
        self.processors, self.gpus, self.network = processors, gpus, network
        self.on_network: Callable[[dict[str, Any]], None] = lambda _: None
        if network is not None and self.backend.isolation != "full":
            raise UsageError(f"The sandbox '{self.backend.name}' has no network of its own to open a way out of.")
        self.action_space = AnyText()
        self.observation_space = AnyText()
        self.command_s = 0.0
        self.recorded: dict[int, Attempt] = {}
        self.checkout: Checkout | None = None
        self.replayed: Step | None = None
        self.prepared: Prepared | None = None
        self._grader: Grader | None = None
        self._steps, self._left = 0, 0.0
        self._text = ""
        self._place, self._room = Path(), 0
        self._open = contextlib.ExitStack()
        self._shelf = Shelf(cache_dir() / "scratch")
        self._snapshots: dict[str, tuple[Snapshot, str]] = {}
        self.counts = ""  # the snapshot that is graded where the episode ends otherwise than by `submit`; empty: none
        self._session: toolbox.Session | None = None
        self._attempts: Attempts | None = None

    @property
    def attempts(self) -> Attempts:
        """The attempts of the episode; raises UsageError before `reset`."""
        if self._attempts is None:
            raise UsageError(BEFORE_RESET)
        return self._attempts

    @property
    def cpu_s(self) -> float:
        """Processor seconds of the episode's sandbox so far, after its end too; 0.0 before `reset`."""
        return self._session.shell.cpu_s if self._session else 0.0

    @property
    def session(self) -> toolbox.Session:
        """The open session; raises UsageError before `reset`."""
        if self._session is None:
            raise UsageError(BEFORE_RESET)
        return self._session

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start a fresh sandbox with the task's workspace; the observation is the brief as text."""
        super().reset(seed=seed)
        self._stop_episode()
        if self.prepared is None or self._grader is None:
            self.prepared = prepare(self.task, python=self.python)
            self._grader = Grader(self.prepared, self.backend.name, self.processors, self.gpus)
        self.prepared.used()
        self._steps, self.command_s, self._left = 0, 0.0, time.time()
        self._shelf, self._snapshots, self.counts = Shelf(cache_dir() / "scratch"), {}, ""
        place = self._open.enter_context(self._shelf.held())
        self._place, self._room = place, disk.free(place)
        shell = self._open_shell(self.prepared, place)
        self._attempts = Attempts(self.task, shell, self._grader, self.feedback, place, self.recorded, self.checkout)
        self._session = toolbox.Session(
            shell,
            self.limits,
            self._tried,
            self.baseline(self.feedback),
            feedback=self.feedback,
            memory=self.memory,
            papers=self.papers,
        )
        self.brief = self._brief(seed or 0)
        self._text = render_brief(self.brief)
        return self._text, {"scored": True}

    def step(self, action: str | Action) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Run one tool call. A lost sandbox ends the episode, graded by its last valid attempt; a fault of the grader
        leaves it unscored. Raises UsageError before `reset` and after the end, and StorageError where the machine's
        disk is full by others' doing: the step does not count then.
        """
        session, attempts = self._going(), self.attempts
        self._steps += 1
        made, grader_before, began = len(attempts.made), attempts.grader_s, time.perf_counter()
        info: dict[str, Any] = {"scored": True}
        ended, idle = "", 0.0
        action = self._action(action)
        try:
            idle = self._jobs_meanwhile(session)
            self._check_room()
            if action.tool == END:
                ended = str(action.args.get("reason", "gave_up"))
                observation = Observation(text=f"The episode ended: {ended}.", status="end", tool=END)
            else:
                observation = self._observed(session, action)
                self._check_room()
        except SandboxError as error:
            ended = "error"
            observation = Observation(
                text=f"The sandbox is gone: {error}", status="error", tool=action.tool, hit=session.shell.hit()
            )
            info.update(boundary=error.boundary, why=str(error))
        except GradingError as error:
            observation = Observation(text=str(error), status="error", tool=action.tool)
            info.update(_fault(error))
        if ended:
            info.update(self.end(ended))
        self.command_s = idle + time.perf_counter() - began - (attempts.grader_s - grader_before)
        if self.replayed is not None:
            self.command_s = self.replayed.command_s
        info["observation"] = observation.model_dump()
        if len(attempts.made) > made:
            info["attempt"] = _told(attempts.made[-1])
        if attempts.final is not None:
            info["final"] = _told(attempts.final)
        self._text, self._left = observation.text, time.time()
        terminated = info["scored"] and (session.ended or ended == "gave_up")
        return observation.text, 0.0, terminated, not terminated and bool(ended or not info["scored"]), info

    def end(self, reason: str) -> dict[str, Any]:
        """`finish`, as what `info` says of it; a fault of the grader leaves the episode unscored."""
        try:
            final = _told(self.finish(reason))
        except GradingError as error:
            return {"ended": reason, **_fault(error)}
        return {"ended": reason, "attempt": final, "final": final}

    def finish(self, reason: str) -> Attempt:
        """Grade the state as it stands, or the snapshot that `counts`, once; later calls return the same attempt.

        `reason` says how it ended.
        """
        if self.attempts.final is not None:
            return self.attempts.final
        if self.counts and not self.lost:
            with contextlib.suppress(SandboxError):  # it is lost now, as the attempt will say
                self.restore(self.counts)
        return self._make("end", reason)

    def snapshot(self) -> str:
        """Save the workspace, the shell (folder, variables, functions, aliases, options) and what the tools remember;
        returns the snapshot's id, good for this episode and its forks. What runs in the background ends. Raises
        SandboxError where that cannot be saved, and StorageError where the disk is full by others' doing.
        """
        session = self._going()
        try:
            saved = self._shelf.snapshot(session.shell)
        except SandboxError:
            self._check_room()
            raise
        name = f"snapshot-{saved.passing.name}"
        self._snapshots[name] = saved, json.dumps(session.state, ensure_ascii=False)
        return name

    def restore(self, id: str) -> None:
        """Take the episode back to a snapshot. What was used up stays so: steps, seconds, attempts."""
        session, (saved, state) = self._going(), self._saved(id)
        self._shelf.restore(session.shell, saved)
        session.state = json.loads(here(saved, session.shell, state))

    def forget(self, id: str) -> None:
        """Let go of a snapshot, and of its files that nothing else is made of."""
        saved, _ = self._saved(id)
        del self._snapshots[id]
        others = [self.session.shell.sandbox.spec.layers, *(other.layers for other, _ in self._snapshots.values())]
        self._shelf.forget(saved, {layer for layers in others for layer in layers})

    @property
    def snapshots(self) -> set[str]:
        """The ids of the snapshots of the episode."""
        return set(self._snapshots)

    def fork(self, id: str) -> "ResearchEnv":
        """Another environment at a snapshot, in a sandbox and with a grader of its own; close it like this one.

        It goes on from this one's count of steps, and has the attempts made so far.
        """
        session, (saved, state) = self._going(), self._saved(id)
        assert self.prepared is not None
        held = contextlib.ExitStack()
        held.enter_context(self._shelf.held())
        try:
            place = self._shelf.new()
            place.mkdir()
            shell = self._shelf.branch(session.shell, saved, self._proxy(held, place))
        except BaseException:
            held.close()
            raise
        held.callback(self._shelf.discard, shell)
        other = copy.copy(self)
        other._open = held
        other._grader = Grader(self.prepared, self.backend.name, self.processors, self.gpus)
        other._attempts = self.attempts.forked(shell, other._grader)
        other._session = replace(
            session, shell=shell, grade=other._tried, state=json.loads(here(saved, shell, state)), attempt=None
        )
        return other

    def passed(self, step: Step, best: float | None) -> float | None:
        """Count a recorded step that is not played back, with its attempt; returns the best progress after it, where
        `best` is that before.
        """
        self._steps += 1
        if step.attempt is None:
            return best
        attempt = self.attempts.make("validate", self._steps, replaying=True)
        found = self.progress(getattr(attempt, self.feedback), self.feedback) if attempt.valid else None
        return found if best is None or (found is not None and found > best) else best

    def render(self) -> str | None:
        """The last observation, with render_mode "ansi"."""
        return self._text if self.render_mode == "ansi" else None

    def close(self) -> None:
        """End the sandbox and the grader."""
        self._stop_episode()
        if self._grader:
            self._grader.close()
        self._grader, self.prepared = None, None

    def kill(self) -> None:
        """End the running sandbox from another thread: the step under way finds it lost."""
        session = self._session
        if session:
            session.shell.kill()

    def baseline(self, split: Split) -> Scores:
        """The starter's measured scores on a split, from the task's anchors; empty where there are none."""
        return {self.task.metric: self.anchors.baseline[split]} if self.anchors else {}

    @property
    def anchors(self) -> Anchors | None:
        """The task's anchors; None where it has none, or where its data was generated: they belong to the real data.

        Those of a made task have the floor that its data tell.
        """
        if self.prepared and self.prepared.data == GENERATED:
            return None
        floor = self.prepared.floor if self.prepared else {}
        return self.task.anchors.changed(floor=floor) if self.task.anchors and floor else self.task.anchors

    def progress(self, scores: Scores | None, split: Split) -> float | None:
        """The progress of `scores` on a split (0 = baseline, 1 = best known); None where the task has no best."""
        return self.task.progress(scores, split) if self.anchors else None

    def _going(self) -> toolbox.Session:
        """The session of an episode that has not ended."""
        session = self.session
        if self.attempts.final is not None:
            raise UsageError(AFTER_END)
        return session

    def _saved(self, id: str) -> tuple[Snapshot, str]:
        """A snapshot, and what the tools remember as JSON."""
        if id not in self._snapshots:
            there = ", ".join(self._snapshots) or "none"
            raise UsageError(f"There is no snapshot '{id}' of this episode; there are: {there}.")
        return self._snapshots[id]

    def _action(self, action: str | Action) -> Action:
        if isinstance(action, str):
            return toolbox.parse(action, self.tools)
        if not action.tool:
            parsed = toolbox.parse(str(action.args.get("text", "")), self.tools)
            return parsed.changed(thought=action.thought, id=action.id, call=action.call)
        return action

    def _observed(self, session: toolbox.Session, action: Action) -> Observation:
        """What a tool answers; a playback does nothing outside the sandbox again."""
        if self.replayed is not None and action.tool in toolbox.HOSTED:
            return self.replayed.observation
        session.step, session.score = self._steps, self._best_shown()
        observation = toolbox.call(session, action, self.tools)
        return self._with_footer(observation) if self.classic and not session.ended else observation

    def _jobs_meanwhile(self, session: toolbox.Session) -> float:
        """The seconds since the last step in which jobs ran; a playback gives them the time that they had then."""
        if self.replayed is None:
            return toolbox.ran_since(session, self._left)
        toolbox.catch_up(session, self.replayed)
        return 0.0

    def _best_shown(self) -> float | None:
        """The best score that `validate` has shown so far."""
        shown = [getattr(attempt, self.feedback) for attempt in self.attempts.made if attempt.kind == "validate"]
        scores = [scores[self.task.metric] for scores in shown if scores]
        best = max if self.task.direction == "maximize" else min
        return best(scores, default=None)

    def _tried(self, kind: Literal["validate", "submit"]) -> Attempt:
        return self._make(kind)

    def _make(self, kind: Kind, reason: str = "") -> Attempt:
        """An attempt; where the workspace's files leave no room for it, the one of a lost sandbox."""
        replaying = self.replayed is not None
        try:
            return self.attempts.make(kind, self._steps, reason=reason, replaying=replaying)
        except StorageError:
            with contextlib.suppress(SandboxError):
                self._check_room()
            return self.attempts.make(kind, self._steps, reason=reason, replaying=replaying)

    def _with_footer(self, observation: Observation) -> Observation:
        left = None if self.limits.steps is None else self.limits.steps - self._steps
        trailer = toolbox.footer(self.session, self._steps, left)
        return observation.changed(text=f"{observation.text}\n{trailer}")

    def _open_shell(self, prepared: Prepared, place: Path) -> Shell:
        folder = place / "workspace"
        folder.mkdir()
        limits = SandboxLimits(memory_mb=self.task.limits.memory_mb)
        data = (Bind(prepared.public, f"{WORKSPACE}/data"),) if any(prepared.public.iterdir()) else ()
        binds = (*data, *prepared.shown, *toolbox.lint_binds())
        proxy = self._proxy(self._open, place)
        spec = SandboxSpec(
            folder, prepared.env, binds, {}, limits, processors=self.processors, gpus=self.gpus, proxy=proxy
        )
        shell = self._open.enter_context(open_shell(self.backend, spec))
        shell.unpack(write_tar(self.task.workspace, self.task.without), shell.workspace)
        return shell

    def _proxy(self, held: contextlib.ExitStack, place: Path) -> Path | None:
        """The socket of a proxy of its own, in the folder `place`; None where there is no network."""
        if self.network is None:
            return None
        return held.enter_context(Proxy(self.network, place, lambda asked: self.on_network(asdict(asked)))).path

    @property
    def lost(self) -> bool:
        """Whether the sandbox of the running episode is gone."""
        return self._session is not None and not self._session.shell.running

    def _check_room(self) -> None:
        """Hold the machine's disk against what a step needs.

        Raises SandboxError, with the sandbox and its files gone, where the workspace holds at least half of what was
        lost since the reset, else StorageError: an agent cannot fill the disk to leave no result, and is not to blame
        for what others wrote.
        """
        left, shell = disk.free(self._place), self.session.shell
        if left >= disk.ROOM or not shell.running:
            return
        spec = shell.sandbox.spec
        if 2 * sum(map(disk.taken, (spec.folder, *spec.layers))) < max(self._room - left, disk.ROOM):
            raise disk.full(self._place)
        self._shelf.discard(shell)
        raise SandboxError("The files in the workspace filled the machine's disk, so the sandbox was stopped.")

    def _stop_episode(self) -> None:
        self._session = self._attempts = None
        self._open.close()

    def _brief(self, seed: int) -> Brief:
        assert self.prepared is not None
        return Brief(
            task=self.task.name,
            title=self.task.title,
            instruction=self.task.told,
            tools=tuple(toolbox.schema(tool) for tool in self.tools.values()),
            limits=self.limits,
            metric=self.task.metric,
            direction=self.task.direction,
            baseline={
                "scores": self.baseline(self.feedback),
                "command": "" if self.task.without else self.task.baseline.command,
                "files": [name for name in self.task.baseline.files if name not in self.task.without],
            },
            seed=seed,
            machine=self._machine(),
            feedback=self.feedback,
        )

    def _machine(self) -> dict[str, Any]:
        confined = self.backend.isolation != "none"
        return {
            "processors": len(self.processors) or len(usable()),
            "memory_mb": self.task.limits.memory_mb,
            "gpu": self._cards() or ("none" if confined else "as on the host"),
            "network": self._way_out() or ("none" if confined else "as on the host"),
            "python": (self.prepared and self.prepared.python) or self._python(),
            "packages": list(self.task.packages),
            "workspace": self.session.shell.workspace,
            "isolation": self.backend.isolation,
        }

    def _cards(self) -> str:
        """The cards that the sandbox was given."""
        given = (card for card in (cards() if self.gpus else []) if card.index in self.gpus)
        return ", ".join(f"{card.name} ({card.total_mb / 1000:.0f} GB)" for card in given)

    def _way_out(self) -> str:
        """What a proxy lets through."""
        if self.network is None:
            return ""
        return f"through the proxy of the variable HTTPS_PROXY to {', '.join(self.network) or 'all hosts'}"

    def _python(self) -> str:
        """The version inside: this one's, but for an image's own."""
        if self.backend.system == "host":
            return platform.python_version()
        return self.session.shell.exec([self.session.shell.sandbox.interpreter, "--version"]).output.split()[-1]


def _fault(error: GradingError) -> dict[str, Any]:
    return {"scored": False, "boundary": error.boundary, "why": str(error), "lasting": error.lasting}


def _told(attempt: Attempt) -> dict[str, Any]:
    """An attempt as `info` has it: without the hashes of its files and of its grader."""
    return attempt.model_dump(exclude={"files", "code", "provenance"})


def render_brief(brief: Brief) -> str:
    """The brief as the text that `reset` returns."""
    machine = brief.machine
    return "\n".join(
        [
            brief.title,
            "",
            brief.instruction,
            "",
            f"Baseline: {brief.baseline['scores'] or 'not measured'} ({brief.metric}, {brief.direction}).",
            f"Limits: {brief.limits.told}.",
            f"Machine: {machine['processors']} processors, {machine['memory_mb']} MB of memory, GPU {machine['gpu']}, "
            f"network {machine['network']}, Python {machine['python']}, "
            f"packages: {', '.join(machine['packages']) or 'none'}. Workspace: {machine['workspace']}.",
            f"`validate` grades the submission on the {brief.feedback} data and shows its score; `submit` grades it on "
            "the test data and ends the episode. What stands in the workspace when a limit is reached counts.",
        ]
    )


def register() -> None:
    """Make every shipped task known to Gymnasium as `mlgym/NAME-vVERSION`, every family, which then takes a `seed` and
    a `difficulty`, and many tasks as one as `mlgym/Tasks-v0`.
    """
    for task in list_tasks():
        gymnasium.register(
            id=f"mlgym/{task.name}-v{task.version}",
            kwargs={"task": task.name, "reward": "progress"},
            entry_point="mlgym.rewards:environment",
            vector_entry_point="mlgym.vector:vector",
        )
    for family in list_families():
        gymnasium.register(
            id=f"mlgym/{family.name}-v{family.version}",
            kwargs={"family": family.name},
            entry_point="mlgym.rewards:of_family",
        )
    gymnasium.register(
        id="mlgym/Tasks-v0", entry_point="mlgym.many:ManyTasks", vector_entry_point="mlgym.vector:vector"
    )


register()
