"""Train policies for MinAtar Breakout by proximal policy optimisation (PPO) and write them to checkpoints/.

    python baseline.py --steps 10000000 --width 512

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
ENVIRONMENTS = 64  # played side by side for each policy
ROLLOUT = 128  # frames that each of them plays between two updates
EPOCHS = 4  # passes over these frames
MINIBATCHES = 8  # parts of a pass, a gradient step each
LEARNING_RATE = 5e-4  # at the start; it falls to 0
LAYERS = 2  # hidden layers of actor and critic
GAMMA = 0.999  # discount of later rewards
LAMBDA = 0.95  # of the generalised advantage estimate
CLIP = 0.2  # how far a policy may move in one update
ENTROPY = 0.01  # weight of the bonus for random actions
VALUE = 0.5  # weight of the critic's loss
MAX_GRADIENT = 0.5  # norm to which gradients are cut

env, about = gymnax.make("Breakout-MinAtar")
reset = jax.vmap(env.reset, (0, None))
step = jax.vmap(env.step, (0, 0, 0, None))


def layers(rng, policies, sizes):
    """Weights and biases of a network of these sizes for each policy; the last is small, to begin at random."""
    scales = [2**0.5] * (len(sizes) - 2) + [0.01]
    shapes = zip(scales, sizes[:-1], sizes[1:], strict=True)
    return [(scale / m**0.5 * rng.normal(size=(policies, m, n)), np.zeros((policies, n))) for scale, m, n in shapes]


def forward(network, x):
    """The network's output for a batch of observations."""
    x = x.reshape(len(x), -1)
    for weight, bias in network[:-1]:
        x = jax.nn.relu(x @ weight + bias)
    return x @ network[-1][0] + network[-1][1]


def loss(params, batch):
    """PPO's clipped loss on one minibatch."""
    observations, actions, old, advantages, targets = batch
    log_p = jax.nn.log_softmax(forward(params["actor"], observations))
    ratio = jnp.exp(jnp.take_along_axis(log_p, actions[:, None], 1)[:, 0] - old)
    advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    gain = jnp.minimum(ratio * advantages, jnp.clip(ratio, 1 - CLIP, 1 + CLIP) * advantages).mean()
    entropy = -(jnp.exp(log_p) * log_p).sum(1).mean()
    error = ((forward(params["critic"], observations)[:, 0] - targets) ** 2).mean()
    return VALUE * error - gain - ENTROPY * entropy


def frame(params, state, key):
    """Play one frame in all environments; what is learned from it, and the return of episodes that ended."""
    observations, states, returns = state
    act, move = jax.random.split(key)
    log_p = jax.nn.log_softmax(forward(params["actor"], observations))
    actions = jax.random.categorical(act, log_p)
    keys = jax.random.split(move, ENVIRONMENTS)
    seen, states, rewards, terminated, truncated, _ = step(keys, states, actions, about)
    over = terminated | truncated
    old = jnp.take_along_axis(log_p, actions[:, None], 1)[:, 0]
    values = forward(params["critic"], observations)[:, 0]
    returns = returns + rewards
    played = observations, actions, old, values, rewards, over, returns
    return (seen, states, returns * ~over), played


def advantage(later, now):
    """Generalised advantage estimates, from the last frame to the first."""
    estimate, following = later
    values, rewards, over = now
    estimate = rewards + GAMMA * following * ~over - values + GAMMA * LAMBDA * ~over * estimate
    return (estimate, values), estimate


def update(optimizer, carry, key):
    """Play ROLLOUT frames and learn from them; returns the mean return of the episodes that ended, and their number."""
    params, memory, state = carry
    play, shuffle = jax.random.split(key)
    state, played = jax.lax.scan(partial(frame, params), state, jax.random.split(play, ROLLOUT))
    observations, actions, old, values, rewards, over, returns = played
    following = forward(params["critic"], state[0])[:, 0]
    _, advantages = jax.lax.scan(advantage, (0 * following, following), (values, rewards, over), reverse=True)
    data = observations, actions, old, advantages, advantages + values
    flat = jax.tree.map(lambda x: x.reshape(ROLLOUT * ENVIRONMENTS, *x.shape[2:]), data)

    def learn(carry, rows):
        params, memory = carry
        gradients = jax.grad(loss)(params, jax.tree.map(lambda x: x[rows], flat))
        change, memory = optimizer.update(gradients, memory)
        return (optax.apply_updates(params, change), memory), None

    orders = jax.vmap(jax.random.permutation, (0, None))(jax.random.split(shuffle, EPOCHS), ROLLOUT * ENVIRONMENTS)
    (params, memory), _ = jax.lax.scan(learn, (params, memory), orders.reshape(EPOCHS * MINIBATCHES, -1))
    return (params, memory, state), ((returns * over).sum(), over.sum())


def main():
    """Train as many policies as are graded and save their actors."""
    options = argparse.ArgumentParser()
    options.add_argument("--steps", type=int, default=10_000_000, help="frames for each policy")
    options.add_argument("--width", type=int, default=512, help="units of a hidden layer")
    options = options.parse_args()
    policies = json.loads(Path("data/evaluation.json").read_text())["checkpoints"]
    updates = options.steps // (ENVIRONMENTS * ROLLOUT)
    rate = optax.linear_schedule(LEARNING_RATE, 0, updates * EPOCHS * MINIBATCHES)
    optimizer = optax.chain(optax.clip_by_global_norm(MAX_GRADIENT), optax.adam(rate, eps=1e-5))

    rng = np.random.default_rng(SEED)
    hidden = [400] + LAYERS * [options.width]
    params = {
        "actor": layers(rng, policies, [*hidden, 3]),
        "critic": layers(rng, policies, [*hidden, 1]),
    }
    params = jax.tree.map(jnp.float32, params)

    def begin(key):
        return *reset(jax.random.split(key, ENVIRONMENTS), about), jnp.zeros(ENVIRONMENTS)

    state = jax.jit(jax.vmap(begin))(jax.random.split(jax.random.key(SEED), policies))
    carry = params, jax.vmap(optimizer.init)(params), state
    learn = jax.jit(jax.vmap(partial(update, optimizer)))
    for n in range(updates):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(SEED + 1), n), policies)
        carry, (returns, episodes) = learn(carry, keys)
        if (n + 1) % max(updates // 10, 1) == 0:
            means = np.asarray(returns / jnp.maximum(episodes, 1)).round(2)
            print(f"{(n + 1) * ENVIRONMENTS * ROLLOUT:9} frames, mean return of each policy {means}", flush=True)

    Path("checkpoints").mkdir(exist_ok=True)
    for number in range(policies):
        arrays = [np.asarray(array[number]) for layer in carry[0]["actor"] for array in layer]
        np.savez(f"checkpoints/{number}.npz", *arrays)


if __name__ == "__main__":
    main()
