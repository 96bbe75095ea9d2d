"""Train policies for the continuous mountain car by proximal policy optimisation (PPO) and write them to checkpoints/.

    python baseline.py --steps 20000000 --width 256 --environments 256

All policies are trained at once, each from a seed of its own.
"""

import argparse
import json
import os
from functools import partial
from pathlib import Path

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import optax

SEED = int(os.environ.get("SEED", "0"))
ROLLOUT = 256  # frames that each of them plays between two updates
EPOCHS = 4  # passes over these frames
MINIBATCHES = 8  # parts of a pass, a gradient step each
LEARNING_RATE = 6e-4
LAYERS = 4  # hidden layers of actor and critic
GAMMA = 0.99  # discount of later rewards
LAMBDA = 0.99  # of the generalised advantage estimate
CLIP = 0.1  # how far a policy may move in one update
ENTROPY = 0.1  # weight of the bonus for random actions
VALUE = 0.5  # weight of the critic's loss
MAX_GRADIENT = 0.5  # norm to which gradients are cut

env, about = gymnax.make("MountainCarContinuous-v0")
reset = jax.vmap(env.reset, (0, None))
step = jax.vmap(env.step, (0, 0, 0, None))


def layers(rng, policies, sizes):
    """Weights and biases of a network of these sizes for each policy; the last is small, to begin at random."""
    scales = [2**0.5] * (len(sizes) - 2) + [0.01]
    shapes = zip(scales, sizes[:-1], sizes[1:], strict=True)
    return [(scale / m**0.5 * rng.normal(size=(policies, m, n)), np.zeros((policies, n))) for scale, m, n in shapes]


def forward(network, x):
    """The network's output for a batch of observations."""
    for weight, bias in network[:-1]:
        x = jax.nn.relu(x @ weight + bias)
    return x @ network[-1][0] + network[-1][1]


def log_density(params, observations, actions):
    """The logarithm of the policy's density, a normal distribution, at the actions."""
    spread = params["spread"]
    away = (actions - forward(params["actor"], observations)) / jnp.exp(spread)
    return -(away**2 / 2 + spread).sum(1)


def loss(params, batch):
    """PPO's clipped loss on one minibatch."""
    observations, actions, old, advantages, targets = batch
    ratio = jnp.exp(log_density(params, observations, actions) - old)
    advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    gain = jnp.minimum(ratio * advantages, jnp.clip(ratio, 1 - CLIP, 1 + CLIP) * advantages).mean()
    entropy = params["spread"].sum()  # up to a constant
    error = ((forward(params["critic"], observations)[:, 0] - targets) ** 2).mean()
    return VALUE * error - gain - ENTROPY * entropy


def frame(params, state, key):
    """Play one frame in all environments; what is learned from it."""
    observations, states = state
    act, move = jax.random.split(key)
    actions = forward(params["actor"], observations)
    actions += jnp.exp(params["spread"]) * jax.random.normal(act, actions.shape)
    keys = jax.random.split(move, len(actions))
    seen, states, rewards, terminated, truncated, _ = step(keys, states, actions.clip(-1, 1), about)
    over = terminated | truncated
    old = log_density(params, observations, actions)
    values = forward(params["critic"], observations)[:, 0]
    return (seen, states), (observations, actions, old, values, rewards, over)


def advantage(later, now):
    """Generalised advantage estimates, from the last frame to the first."""
    estimate, following = later
    values, rewards, over = now
    estimate = rewards + GAMMA * following * ~over - values + GAMMA * LAMBDA * ~over * estimate
    return (estimate, values), estimate


def update(optimizer, carry, key):
    """Play ROLLOUT frames and learn from them; returns the mean reward of a frame."""
    params, memory, state = carry
    play, shuffle = jax.random.split(key)
    state, played = jax.lax.scan(partial(frame, params), state, jax.random.split(play, ROLLOUT))
    observations, actions, old, values, rewards, over = played
    following = forward(params["critic"], state[0])[:, 0]
    _, advantages = jax.lax.scan(advantage, (0 * following, following), (values, rewards, over), reverse=True)
    data = observations, actions, old, advantages, advantages + values
    flat = jax.tree.map(lambda x: x.reshape(rewards.size, *x.shape[2:]), data)

    def learn(carry, rows):
        params, memory = carry
        gradients = jax.grad(loss)(params, jax.tree.map(lambda x: x[rows], flat))
        change, memory = optimizer.update(gradients, memory)
        return (optax.apply_updates(params, change), memory), None

    orders = jax.vmap(jax.random.permutation, (0, None))(jax.random.split(shuffle, EPOCHS), rewards.size)
    (params, memory), _ = jax.lax.scan(learn, (params, memory), orders.reshape(EPOCHS * MINIBATCHES, -1))
    return (params, memory, state), rewards.mean()


def main():
    """Train as many policies as are graded and save their actors."""
    options = argparse.ArgumentParser()
    options.add_argument("--steps", type=int, default=20_000_000, help="frames for each policy")
    options.add_argument("--width", type=int, default=256, help="units of a hidden layer")
    options.add_argument("--environments", type=int, default=256, help="played side by side for each policy")
    options = options.parse_args()
    policies = json.loads(Path("data/evaluation.json").read_text())["checkpoints"]
    frames = options.environments * ROLLOUT  # in one update
    updates = options.steps // frames
    optimizer = optax.chain(optax.clip_by_global_norm(MAX_GRADIENT), optax.adam(LEARNING_RATE, eps=1e-5))

    rng = np.random.default_rng(SEED)
    hidden = [2] + LAYERS * [options.width]
    params = {
        "actor": layers(rng, policies, [*hidden, 1]),
        "critic": layers(rng, policies, [*hidden, 1]),
        "spread": np.zeros((policies, 1)),
    }
    params = jax.tree.map(jnp.float32, params)

    def begin(key):
        return reset(jax.random.split(key, options.environments), about)

    state = jax.jit(jax.vmap(begin))(jax.random.split(jax.random.key(SEED), policies))
    carry = params, jax.vmap(optimizer.init)(params), state
    learn = jax.jit(jax.vmap(partial(update, optimizer)))
    for n in range(updates):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(SEED + 1), n), policies)
        carry, rewards = learn(carry, keys)
        if (n + 1) % max(updates // 10, 1) == 0:
            means = np.asarray(rewards).round(4)
            print(f"{(n + 1) * frames:9} frames, mean reward of a frame, each policy {means}", flush=True)

    Path("checkpoints").mkdir(exist_ok=True)
    for number in range(policies):
        arrays = [array for layer in carry[0]["actor"] for array in layer] + [carry[0]["spread"]]
        np.savez(f"checkpoints/{number}.npz", *[np.asarray(array[number]) for array in arrays])


if __name__ == "__main__":
    main()
