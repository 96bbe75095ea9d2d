"""Train policies for the continuous mountain car by REINFORCE and write them to checkpoints/.

    python baseline.py --steps 1000000

All policies are trained at once, each from a seed of its own.
"""

import argparse
import json
import os
from functools import partial
from itertools import pairwise
from pathlib import Path

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import optax

SEED = int(os.environ.get("SEED", "0"))
EPISODES = 64  # played side by side between two gradient steps
LAYERS = 2  # hidden layers of the policy
WIDTH = 64  # units of each
LEARNING_RATE = 1e-3
GAMMA = 0.99  # discount of later rewards
SPREAD = 0.0  # logarithm of the standard deviation of the first forces

env, about = gymnax.make("MountainCarContinuous-v0")
reset = jax.vmap(env.reset, (0, None))
step = jax.vmap(env.step, (0, 0, 0, None))


def forward(network, x):
    """The mean force for a batch of observations."""
    for weight, bias in network[:-1]:
        x = jax.nn.relu(x @ weight + bias)
    return x @ network[-1][0] + network[-1][1]


def frame(params, state, key):
    """Play one frame of all episodes; `alive` says which of them are not over."""
    observations, states, alive = state
    act, move = jax.random.split(key)
    forces = forward(params["network"], observations)
    forces += jnp.exp(params["spread"]) * jax.random.normal(act, forces.shape)
    keys = jax.random.split(move, EPISODES)
    seen, states, rewards, terminated, truncated, _ = step(keys, states, forces.clip(-1, 1), about)
    played = observations, forces, rewards * alive, alive
    return (seen, states, alive & ~terminated & ~truncated), played


def loss(params, played, returns):
    """The logarithm of the policy's density at each force, weighted by the return that followed."""
    observations, forces, _, alive = played
    away = (forces - forward(params["network"], observations)) / jnp.exp(params["spread"])
    log_p = -(away**2 / 2 + params["spread"]).sum(-1)
    number = alive.sum()
    mean = (returns * alive).sum() / number
    deviation = (((returns - mean) ** 2 * alive).sum() / number) ** 0.5
    return -(log_p * (returns - mean) / (deviation + 1e-8) * alive).sum() / number


def add(later, now):
    """The discounted return, from the last frame to the first."""
    return (now + GAMMA * later,) * 2


def update(optimizer, frames, carry, key):
    """Play EPISODES episodes and take a gradient step; returns their mean return."""
    params, memory = carry
    begin, play = jax.random.split(key)
    state = *reset(jax.random.split(begin, EPISODES), about), jnp.ones(EPISODES, bool)
    _, played = jax.lax.scan(partial(frame, params), state, jax.random.split(play, frames))
    rewards = played[2]
    _, returns = jax.lax.scan(add, jnp.zeros(EPISODES), rewards, reverse=True)
    change, memory = optimizer.update(jax.grad(loss)(params, played, returns), memory)
    return (optax.apply_updates(params, change), memory), rewards.sum(0).mean()


def main():
    """Train as many policies as are graded, on episodes as long as graded ones, and save them."""
    options = argparse.ArgumentParser()
    options.add_argument("--steps", type=int, default=1_000_000, help="frames for each policy")
    options = options.parse_args()
    graded = json.loads(Path("data/evaluation.json").read_text())
    policies, frames = graded["checkpoints"], graded["frames"]
    updates = options.steps // (EPISODES * frames)
    optimizer = optax.adam(LEARNING_RATE)

    rng = np.random.default_rng(SEED)
    sizes = [2] + LAYERS * [WIDTH] + [1]
    network = [(rng.normal(size=(policies, m, n)) / m**0.5, np.zeros((policies, n))) for m, n in pairwise(sizes)]
    params = jax.tree.map(jnp.float32, {"network": network, "spread": np.full((policies, 1), SPREAD)})
    carry = params, jax.vmap(optimizer.init)(params)
    learn = jax.jit(jax.vmap(partial(update, optimizer, frames)))
    for n in range(updates):
        carry, returns = learn(carry, jax.random.split(jax.random.fold_in(jax.random.key(SEED + 1), n), policies))
        if (n + 1) % max(updates // 10, 1) == 0:
            print(f"{(n + 1) * EPISODES * frames:9} frames, mean return of each policy {np.asarray(returns).round(2)}")

    Path("checkpoints").mkdir(exist_ok=True)
    for number in range(policies):
        arrays = [array for layer in carry[0]["network"] for array in layer] + [carry[0]["spread"]]
        np.savez(f"checkpoints/{number}.npz", *[np.asarray(array[number]) for array in arrays])


if __name__ == "__main__":
    main()
