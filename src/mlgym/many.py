"""An environment that takes its task at reset: drawn from many by weights or a curriculum, or the one asked for."""

from collections.abc import Iterable, Mapping
from typing import Any

import gymnasium

from mlgym.curriculum import Curriculum, is_open
from mlgym.env import BEFORE_RESET, AnyText
from mlgym.errors import UsageError
from mlgym.records import Action
from mlgym.rewards import Env, environment
from mlgym.task import for_training, load_task, suites


class ManyTasks(gymnasium.Env[str, str | Action]):
    """Episodes of many tasks, each through `rewards.environment`.

    `tasks` are names, suites and names with open seeds such as `tabular-s*-d0.4`, one or several; `weights` by these
    names, a suite's going to each of its tasks. `curriculum` may be a Curriculum, several environments sharing one, or
    True for one by learnability; it learns from how the episodes end. `reset` draws a task and the episode's seed, by
    its own `seed` or what that left; a given seed is the episode's. `options={"task": name}` asks for a task; `info`
    of a reset names the `task` and the `seed`. The benchmark's own tasks are refused unless `include_eval`; further
    `options` are those of `rewards.environment`. Raises UsageError for what is no task.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"]}  # noqa: RUF012 - Gymnasium declares it so

    def __init__(
        self,
        tasks: str | Iterable[str] = "train",
        *,
        weights: Mapping[str, float] | None = None,
        curriculum: Curriculum | bool = False,
        include_eval: bool = False,
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        self.curriculum = (
            curriculum if isinstance(curriculum, Curriculum) else curriculum_of(tasks, weights, curriculum)
        )
        self.include_eval, self.render_mode, self.options = include_eval, render_mode, options
        self.action_space, self.observation_space = AnyText(), AnyText()
        self.task = ""
        self._env: Env | None = None
        self._reward: float | None = None
        for_training([load_task(name) for name in self.curriculum.names if not is_open(name)], include_eval)

    @property
    def env(self) -> Env:
        """The environment of the task at hand; raises UsageError before `reset`."""
        if self._env is None:
            raise UsageError(BEFORE_RESET)
        return self._env

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Begin an episode of the next task, or of that in `options`; the observation is its brief as text."""
        super().reset(seed=seed)
        [(name, luck)] = self.curriculum.draw(1, seed=int(self.np_random.integers(2**31)))
        name, luck = (options or {}).get("task", name), luck if seed is None else seed
        if self._env is None or name != self.task:
            self.close()
            [task] = for_training([load_task(name)], self.include_eval)
            self._env, self.task = environment(task, render_mode=self.render_mode, **self.options), name
        self._reward = 0.0
        text, info = self._env.reset(seed=luck)
        return text, {**info, "task": self.task, "seed": luck}

    def step(self, action: str | Action) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """A step of the task at hand; the curriculum learns what the episode came to when it ends."""
        text, reward, terminated, truncated, info = self.env.step(action)
        self._reward = self._reward + float(reward) if self._reward is not None and info["scored"] else None
        if terminated or truncated:
            self.curriculum.update(self.task, [self._reward])
        return text, float(reward), terminated, truncated, info

    def render(self) -> Any:
        """The last observation, with render_mode "ansi"."""
        return self.env.render()

    def kill(self) -> None:
        """End the running sandbox from another thread."""
        if self._env is not None:
            self._env.unwrapped.kill()  # type: ignore[attr-defined]

    def close(self) -> None:
        """End sandbox and grader; a `reset` begins anew."""
        env, self._env = self._env, None
        if env is not None:
            env.close()


def curriculum_of(tasks: str | Iterable[str], weights: Mapping[str, float] | None, learnability: bool) -> Curriculum:
    """The curriculum of these tasks and suites; a suite's weight is that of each of its tasks."""
    known, every = suites(), dict[str, float]()
    given = [tasks] if isinstance(tasks, str) else list(tasks)
    if unknown := set(weights or {}) - set(given):
        raise UsageError(f"There is a weight for '{min(unknown)}', which is not among the tasks.")
    for name in given:
        for member in known[name].tasks if name in known else (name,):
            every[member] = float((weights or {}).get(name, 1.0))
    return Curriculum(every, every, learnability)
