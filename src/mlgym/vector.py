"""Episodes side by side: a vector environment whose environments are driven by threads.

What takes time in a step is another process, the sandbox's or the grader's, so threads are enough. `docs/vector.md`
says what is done when.
"""

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from mlgym.curriculum import Curriculum
from mlgym.errors import MlgymError, UsageError
from mlgym.many import ManyTasks, curriculum_of
from mlgym.records import Action
from mlgym.rewards import Env, environment

Began = tuple[str, dict[str, Any]]
Batch = tuple[tuple[str, ...], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]


def vector(
    num_envs: int = 1,
    *,
    autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
    prefetch: bool = True,
    **options: Any,
) -> "Episodes":
    """`num_envs` episodes of the `task` among `options`, which are those of `rewards.environment`; without a task, of
    `many.ManyTasks` with these options, all with one curriculum.
    """
    if "task" in options:
        return Episodes([lambda: environment(**options)] * num_envs, autoreset_mode, prefetch)
    if not isinstance(options.get("curriculum"), Curriculum):
        given = options.pop("tasks", "train"), options.pop("weights", None), bool(options.pop("curriculum", False))
        options["curriculum"] = curriculum_of(*given)
    return Episodes([lambda: ManyTasks(**options)] * num_envs, autoreset_mode, prefetch)


@dataclass
class Turn:
    """What came of one environment's part in a step. `over`: there is no episode to go on with; `final` are the last
    text and info of one that ended, where those of the next took their place; `error` is what the environment failed
    with.
    """

    text: str
    reward: float
    terminated: bool
    truncated: bool
    info: dict[str, Any]
    over: bool = False
    final: Began | None = None
    error: Exception | None = None


class Driver:
    """A thread that does one thing after another; unlike those of an executor it keeps no interpreter from ending."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None]
        self._jobs = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="environment", daemon=True)
        self._thread.start()

    def submit(self, do: Callable[..., Any], *args: Any) -> Future[Any]:
        """What `do(*args)` will return, after all that was submitted before."""
        answer: Future[Any] = Future()
        self._jobs.put((answer, do, args))
        return answer

    def end(self) -> None:
        """End the thread when all is done."""
        self._jobs.put(None)
        self._thread.join()

    def _serve(self) -> None:
        while job := self._jobs.get():
            answer, do, args = job
            try:
                answer.set_result(do(*args))
            except BaseException as error:
                answer.set_exception(error)
            del job, answer, do, args


class Episodes(VectorEnv[tuple[str, ...], Sequence[str | Action], NDArray[Any]]):
    """The environments that `makes` make, each driven by one thread at a time; texts come as tuples of `num_envs`.

    With `prefetch` the next episode of an environment begins as soon as one ends, while the others still work; it is
    used unless a reset with a seed or options comes first. An environment that fails ends its own episode alone:
    truncated, reward 0.0, and in `infos` `scored` False with `boundary` and `why`; its next step begins it anew. Where
    all fail at once, the first one's error is raised. `infos` are arrays with masks (`_key`) as Gymnasium has them;
    what is None in an environment's info is masked out.
    """

    def __init__(
        self,
        makes: Sequence[Callable[[], Env]],
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        prefetch: bool = True,
    ) -> None:
        if not makes:
            raise UsageError("A vector environment needs at least one environment: num_envs must be 1 or more.")
        self.mode = AutoresetMode(autoreset_mode)
        self.prefetch = prefetch
        self.envs = [make() for make in makes]
        self.num_envs = len(self.envs)
        self.metadata = {**self.envs[0].metadata, "autoreset_mode": self.mode}
        self.render_mode = self.envs[0].render_mode
        self.single_observation_space = self.envs[0].observation_space
        self.single_action_space = self.envs[0].action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._drivers = [Driver() for _ in self.envs]
        self._closing = False
        self._texts = [""] * self.num_envs
        self._over: list[bool | None] = [None] * self.num_envs  # whether the episode has ended; None before the first
        self._next: dict[int, Future[Began]] = {}  # episodes that were begun ahead
        self._stepping: list[Future[Turn]] = []

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[tuple[str, ...], dict[str, Any]]:
        """Begin all episodes, or with a boolean array `reset_mask` among the `options` those that it names.

        An integer `seed` gives the n-th environment seed + n, a list each its own. Raises UsageError for a seed or a
        mask of another length.
        """
        self._nothing_under_way()
        options = dict(options or {})
        chosen = self._chosen(options.pop("reset_mask", None))
        seeds = self._seeds(seed)
        super().reset(seed=seeds[0])
        began = {n: self._drivers[n].submit(self._begun, n, seeds[n], options) for n in chosen}
        turns = {n: future.result() for n, future in began.items()}
        for n, turn in turns.items():
            self._texts[n], self._over[n] = turn.text, turn.over
        _raise_where_all_failed(list(turns.values()))
        return tuple(self._texts), batched([turns[n].info if n in turns else None for n in range(self.num_envs)])

    def step(self, actions: Sequence[str | Action]) -> Batch:
        """One action for each environment; returns when all have answered."""
        self.step_async(actions)
        return self.step_wait()

    def step_async(self, actions: Sequence[str | Action]) -> None:
        """Send the actions; `step_wait` has what comes of them. Raises UsageError for another number of them, before
        `reset`, and where an episode has ended that is not begun anew by itself.
        """
        self._nothing_under_way()
        actions = list(actions)
        if len(actions) != self.num_envs:
            raise UsageError(f"There are {len(actions)} actions for {self.num_envs} environments.")
        if None in self._over:
            raise UsageError("An environment has no episode yet: call reset() first.")
        if self.mode is AutoresetMode.DISABLED and any(self._over):
            ended = ", ".join(str(n) for n, over in enumerate(self._over) if over)
            raise UsageError(f"Episodes have ended (numbers {ended}): call reset() with a reset_mask of them first.")
        self._stepping = [self._drivers[n].submit(self._turn, n, action) for n, action in enumerate(actions)]

    def step_wait(self) -> Batch:
        """What came of the actions: texts, rewards, terminations, truncations, infos."""
        if not self._stepping:
            raise UsageError("There are no actions to wait for: call step_async() first.")
        turns = [future.result() for future in self._stepping]
        self._stepping = []
        self._texts, self._over = [turn.text for turn in turns], [turn.over for turn in turns]
        _raise_where_all_failed(turns)
        rewards = np.array([turn.reward for turn in turns], dtype=np.float64)
        terminated = np.array([turn.terminated for turn in turns], dtype=np.bool_)
        truncated = np.array([turn.truncated for turn in turns], dtype=np.bool_)
        infos = batched([turn.info for turn in turns])
        finals = [turn.final for turn in turns]
        if any(finals):
            infos |= batched([final and {"final_obs": final[0], "final_info": final[1]} for final in finals])
        return tuple(self._texts), rewards, terminated, truncated, infos

    def render(self) -> tuple[Any, ...]:
        """What each environment renders."""
        return self.call("render")

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The results of each environment's method `name`, or its attribute of that name."""
        self._nothing_under_way()
        self._wait_for_next()
        found = [env.get_wrapper_attr(name) for env in self.envs]
        return tuple(each(*args, **kwargs) if callable(each) else each for each in found)

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """Each environment's attribute of that name."""
        return self.call(name)

    def set_attr(self, name: str, values: Any) -> None:
        """Set an attribute of the environments: to the items of a list or tuple, or all to one value."""
        given = list(values) if isinstance(values, list | tuple) else [values] * self.num_envs
        if len(given) != self.num_envs:
            raise UsageError(f"There are {len(given)} values of {name} for {self.num_envs} environments.")
        self._wait_for_next()
        for env, value in zip(self.envs, given, strict=True):
            env.set_wrapper_attr(name, value)

    def close_extras(self, **_: Any) -> None:
        """End all sandboxes, also those with a command under way; a grading under way is waited for."""
        self._closing = True
        for env in self.envs:
            if hasattr(env.unwrapped, "kill"):
                env.unwrapped.kill()
        closed = [driver.submit(env.close) for driver, env in zip(self._drivers, self.envs, strict=True)]
        for driver in self._drivers:
            driver.end()
        for future in closed:
            future.result()

    def _turn(self, n: int, action: str | Action) -> Turn:
        """One environment's part in a step, in a thread of its own."""
        if self._over[n]:
            return self._begun(n, None, {})
        try:
            text, reward, terminated, truncated, info = self.envs[n].step(action)
            turn = Turn(text, float(reward), terminated, truncated, info, over=terminated or truncated)
        except Exception as error:
            turn = _failed(error)
        if not turn.over:
            return turn
        if self.mode is AutoresetMode.SAME_STEP:
            following = self._begun(n, None, {})
            turn.final, turn.text, turn.info = (turn.text, turn.info), following.text, following.info
            turn.over, turn.error = following.over, following.error or turn.error
        elif self.prefetch and not self._closing:
            self._next[n] = self._drivers[n].submit(self.envs[n].reset)
        return turn

    def _begun(self, n: int, seed: int | None, options: dict[str, Any]) -> Turn:
        """The begin of an episode: the one that was begun ahead, or where more is asked for a new one."""
        ahead = self._next.pop(n, None)
        try:
            if ahead is not None:
                with suppress(Exception):
                    came = ahead.result()
                    if seed is None and not options:
                        return Turn(came[0], 0.0, False, False, came[1])
            text, info = self.envs[n].reset(seed=seed, options=dict(options) or None)
            return Turn(text, 0.0, False, False, info)
        except Exception as error:
            return _failed(error)

    def _wait_for_next(self) -> None:
        for ahead in self._next.values():
            ahead.exception()

    def _nothing_under_way(self) -> None:
        if self.closed:
            raise UsageError("The vector environment is closed: make another.")
        if self._stepping:
            raise UsageError("Actions are under way: call step_wait() first.")

    def _chosen(self, mask: Any) -> list[int]:
        """The numbers of the environments that a `reset_mask` names, all without one."""
        if mask is None:
            return list(range(self.num_envs))
        mask = np.asarray(mask)
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_ or not mask.any():
            raise UsageError(f"A reset_mask must be an array of {self.num_envs} booleans, one of them True.")
        return [int(n) for n in np.flatnonzero(mask)]

    def _seeds(self, seed: int | Sequence[int | None] | None) -> list[int | None]:
        if isinstance(seed, int | np.integer):
            return [int(seed) + n for n in range(self.num_envs)]
        seeds: list[int | None] = [None] * self.num_envs if seed is None else list(seed)
        if len(seeds) != self.num_envs:
            raise UsageError(f"There are {len(seeds)} seeds for {self.num_envs} environments.")
        return seeds


def batched(infos: Sequence[Mapping[str, Any] | None]) -> dict[str, Any]:
    """The infos of the environments as one: for each key an array, and under `_key` a mask of who has it.

    Dictionaries become one dictionary of arrays, numbers arrays of numbers, all else arrays of objects. A key counts as
    absent where its value is None. (Gymnasium's own way takes the first value for the type of all.)
    """
    out: dict[str, Any] = {}
    for key in dict.fromkeys(key for info in infos if info for key in info):
        values = [None if info is None else info.get(key) for info in infos]
        mask = np.array([value is not None for value in values])
        if mask.any():
            out[key], out[f"_{key}"] = _array(values, mask), mask
    return out


def _array(values: list[Any], mask: NDArray[np.bool_]) -> Any:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {dict}:
        return batched(values)
    dtype = kinds.pop() if len(kinds) == 1 else float if kinds == {int, float} else object
    array = np.zeros(len(values), dtype) if dtype in (bool, int, float) else np.full(len(values), None, object)
    for n in np.flatnonzero(mask):
        array[n] = values[n]
    return array


def _failed(error: Exception) -> Turn:
    boundary = error.boundary if isinstance(error, MlgymError) else "environment"
    info = {"scored": False, "boundary": boundary, "why": str(error) or type(error).__name__}
    return Turn(str(error), 0.0, False, True, info, over=True, error=error)


def _raise_where_all_failed(turns: Sequence[Turn]) -> None:
    errors = [turn.error for turn in turns]
    if errors and all(errors):
        assert errors[0] is not None
        raise errors[0]
