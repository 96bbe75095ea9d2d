"""Search policies for the mountain car directly, without gradients: the cross-entropy method.

The score is the return of whole episodes that reward nothing before the goal; whole policies drawn at random push the
car in one direction for many frames, which noise on single forces does not. A run takes some seconds, whatever --steps.
"""

import json
import os
from pathlib import Path

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from policy import force

SEED = int(os.environ.get("SEED", "0"))
WIDTH = 8
POPULATION, ELITE = 64, 10
EPISODES = 6
GENERATIONS = 60
NOISE = 0.3  # added to the spread of a generation; it falls to 0

env, about = gymnax.make("MountainCarContinuous-v0")
step = jax.vmap(env.step, (None, 0, 0, None))
graded = json.loads(Path("data/evaluation.json").read_text())
shape = [jnp.zeros((2, WIDTH)), jnp.zeros(WIDTH), jnp.zeros((WIDTH, 1)), jnp.zeros(1)]
flat, whole = ravel_pytree(shape)


def score(vector, key):
    """The mean return of a policy."""

    def frame(carry, _):
        observations, states, alive, returns = carry
        forces = force(jnp, whole(vector), observations)
        observations, states, rewards, terminated, _, _ = step(key, states, forces, about)
        return (observations, states, alive & ~terminated, returns + alive * rewards), None

    begun = jax.vmap(env.reset, (0, None))(jax.random.split(key, EPISODES), about)
    start = *begun, jnp.ones(EPISODES, bool), jnp.zeros(EPISODES)
    return jax.lax.scan(frame, start, length=graded["frames"])[0][3].mean()


def generation(carry, now):
    """Draw a population, keep the best."""
    mean, spread = carry
    key, noise = now
    draw, play = jax.random.split(key)
    population = mean + spread * jax.random.normal(draw, (POPULATION, len(flat)))
    scores = jax.vmap(score, (0, None))(population, play)
    best = population[jnp.argsort(-scores)[:ELITE]]
    return (best.mean(0), best.std(0) + noise), jnp.sort(scores)[-ELITE:].mean()


def search(key):
    """The policy in the middle of the last generation's best, and the course of their scores."""
    now = jax.random.split(key, GENERATIONS), jnp.linspace(NOISE, 0, GENERATIONS)
    (mean, _), course = jax.lax.scan(generation, (flat, 0 * flat + 1.5), now)
    return mean, course


found, course = jax.jit(jax.vmap(search))(jax.random.split(jax.random.key(SEED), graded["checkpoints"]))
print("the best of every tenth generation:", np.asarray(course[:, ::10]).round(1), sep="\n")
Path("checkpoints").mkdir(exist_ok=True)
for number, vector in enumerate(found):
    np.savez(f"checkpoints/{number}.npz", *map(np.asarray, whole(vector)))
