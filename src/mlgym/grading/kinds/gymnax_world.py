"""Environments of gymnax, compiled by jax, as a world of `kinds.policies`."""

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .policies import Rows


class GymnaxWorld:
    """The environment of that name with its default parameters, all copies stepped in one compiled call."""

    def __init__(self, name: str, dtype: str = "float32", actions: int = 0, width: int = 0) -> None:
        gymnax, jax = map(import_module, ("gymnax", "jax"))
        env, about = gymnax.make(name)
        self.actions, self.width, self._jax = actions, width, jax
        self._carry: Any = None

        def reset(key: Any, number: int) -> Any:
            key, now = jax.random.split(key)
            observations, states = jax.vmap(env.reset, (0, None))(jax.random.split(now, number), about)
            return observations.astype(dtype), (key, states)

        def step(carry: Any, actions: Any) -> Any:
            key, now = jax.random.split(carry[0])
            keys = jax.random.split(now, len(actions))
            move = jax.vmap(env.step, (0, 0, 0, None))
            observations, states, rewards, terminated, truncated, _ = move(keys, carry[1], actions, about)
            return observations.astype(dtype), rewards, terminated | truncated, (key, states)

        self._reset, self._step = jax.jit(reset, static_argnums=1), jax.jit(step)

    def reset(self, luck: NDArray[np.uint32], number: int) -> Rows:
        """See `World`."""
        observations, self._carry = self._reset(self._jax.random.wrap_key_data(luck), number)
        return np.asarray(observations)

    def step(self, actions: Rows) -> tuple[Rows, Rows, Rows]:
        """See `World`."""
        moves = actions.astype("int32") if self.actions else actions
        *seen, self._carry = self._step(self._carry, moves)
        observations, rewards, over = map(np.asarray, seen)
        return observations, rewards.reshape(len(actions)), over.reshape(len(actions))
