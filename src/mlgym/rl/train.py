"""Training by a recipe: warm-up, then rollouts and updates in turn; the same call goes on after a kill.

Every draw follows from the recipe's seed and the number of the step, so there is no state of a generator to keep.
"""

import resource
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlgym.curriculum import Curriculum
from mlgym.interrupts import heard
from mlgym.rl import progress, warm
from mlgym.rl.batch import collate
from mlgym.rl.engine import Engine, Row
from mlgym.rl.learner import Learner, algorithm, tried
from mlgym.rl.recipe import Recipe, members
from mlgym.trajectory import Trajectory

Say = Callable[[str], None]
APART = 1_000_000_007  # keeps the draws of one seed apart from those of the next


def train(recipe: Recipe, folder: Path, *, include_eval: bool = False, say: Say = print) -> int:
    """Train in `folder`, or go on there; returns the exit code, 0 unless a signal stopped it.

    Raises UsageError for what the user must mend, InUse where another process trains there.
    """
    recipe.check(include_eval)
    loss = algorithm(recipe.algorithm, recipe.options)
    tried(loss, recipe.options, recipe.reference)
    with progress.held(folder):
        progress.keep_recipe(folder, recipe)
        asked = threading.Event()
        with heard(asked) as told:
            training = Training(recipe, folder, say)
            try:
                training.run(loss, asked)
            finally:
                training.close()
        if told.number:
            say(f"Stopped after step {training.steps}; the same command goes on.")
        return told.code if told.number else 0


class Training:
    """A run of training in its folder; `done` counts the steps of the warm-up and those after it."""

    def __init__(self, recipe: Recipe, folder: Path, say: Say) -> None:
        import torch

        torch.set_num_threads(recipe.threads)
        self.recipe, self.folder, self.say = recipe, folder, say
        self.device = warm.device(recipe.device)
        given = warm.pretrained(recipe, self.device)
        taught = warm.conversations(recipe, folder, lambda policy: self.engine(policy, 0), say)
        self.policy = given or warm.made(recipe, folder, taught, self.device)
        self.examples = warm.examples(self.policy, taught)
        self.warming = recipe.warmup.steps if recipe.warmup else 0
        self.curriculum: Curriculum = recipe.drawn()
        self.done, self.seconds, self.whole = 0, 0.0, True
        self._learner: Learner | None = None
        if state := progress.load(folder / progress.LAST, self.device):
            self._restore(state)
        self.curve = progress.Curve(folder, self.done)
        tried = [line for line in progress.lines(folder) if "evaluation" in line]
        self.tried = {line["done"] for line in tried}
        self.best = max((progress.first(line["evaluation"]) for line in tried), default=-np.inf)
        self.rollouts = self.engine(self.policy, recipe.seed, store=recipe.store)
        self.trials = self.engine(self.policy, recipe.seed + APART)

    @property
    def steps(self) -> int:
        """The steps after the warm-up."""
        return max(0, self.done - self.warming)

    def engine(self, policy: Any, seed: int, store: int = 0) -> Engine:
        """An engine as the recipe has it."""
        recipe = self.recipe
        return Engine(
            policy,
            environments=recipe.environments,
            protocol=recipe.protocol,
            prompt=recipe.prompt,
            reward=recipe.reward,
            limits=recipe.limits.model_dump(exclude_none=True),
            max_tokens=recipe.max_tokens,
            context=recipe.context,
            deadline=recipe.deadline,
            seed=seed,
            store=self.folder / "episodes" if store else None,
            every=store,
            sandbox=recipe.sandbox,
        )

    def run(self, loss: Callable[..., Any], asked: threading.Event) -> None:
        """All steps that are missing, until `asked` to stop."""
        total = self.warming + self.recipe.steps
        try:
            while self.done < total and not asked.is_set():
                if self.done < self.warming:
                    self._warm()
                else:
                    self._step(loss)
                if self.done % self.recipe.checkpoint_every == 0 or self.done == self.warming:
                    self.checkpoint()
            if self.done >= total:
                self._evaluate()
                self.checkpoint()
                self._finish()
        finally:
            if self.whole:
                self.checkpoint()

    def checkpoint(self) -> None:
        """Write down all that the next step depends on."""
        learner = self._learner
        state = {
            "done": self.done,
            "seconds": self.seconds,
            "version": self.policy.version,
            "curriculum": self.curriculum.state(),
            "model": self.policy.model.state_dict(),
            "optimizer": learner.optimizer.state_dict() if learner else None,
        }
        progress.save(self.folder / progress.LAST, state)

    def close(self) -> None:
        """Let go of the engines and the files."""
        self.rollouts.close()
        self.trials.close()
        self.curve.close()

    def _restore(self, state: dict[str, Any]) -> None:
        self.done, self.seconds = state["done"], state["seconds"]
        self.curriculum.restore(state["curriculum"])
        self.policy.version = state["version"]
        if self.recipe.reference and self.done >= self.warming:
            begun = progress.load(self.folder / "begun.pt", self.device)
            self.policy.model.load_state_dict(begun["model"] if begun else state["model"])
        self._learner = self._made()
        self.policy.model.load_state_dict(state["model"])
        if state["optimizer"] and self.done != self.warming:
            self._learner.optimizer.load_state_dict(state["optimizer"])
        self.say(f"Going on after step {self.steps}" + (" of the warm-up" if self.done < self.warming else ""))

    def _made(self) -> Learner:
        """The learner of the phase that the run is in."""
        recipe, warming = self.recipe, self.done < self.warming
        lr = recipe.warmup.lr if warming and recipe.warmup else recipe.lr
        return Learner(
            self.policy.model,
            lr=lr,
            weight_decay=recipe.weight_decay,
            max_norm=recipe.max_norm,
            rows=recipe.at_once,
            reference=recipe.reference and not warming,
        )

    def learner(self) -> Learner:
        """The learner; each phase begins with a new one."""
        if self._learner is None or self.done == self.warming:
            self._learner = self._made()
            if self.recipe.reference and self.done == self.warming:
                progress.save(self.folder / "begun.pt", {"model": self.policy.model.state_dict()})
        return self._learner

    def _warm(self) -> None:
        """A supervised step."""
        assert self.recipe.warmup is not None
        began, learner = time.monotonic(), self.learner()
        luck = np.random.default_rng([self.recipe.seed, 1, self.done])
        chosen = luck.choice(len(self.examples), self.recipe.warmup.rows)
        batch = collate([self.examples[n] for n in chosen], device=self.device)
        assert batch is not None
        metrics = self._updated(lambda: learner.update(batch, algorithm("sft", {}), {}))
        self.seconds += time.monotonic() - began
        self.curve.add({"done": self.done, "phase": "warmup", "loss": metrics["loss"], "norm": metrics.get("norm")})
        if self.done % 100 == 0 or self.done == self.warming:
            self.say(f"warm-up {self.done}/{self.warming}  loss {metrics['loss']:.3f}")

    def _step(self, loss: Callable[..., Any]) -> None:
        """Rollouts, and what is learned from them."""
        recipe, number, learner = self.recipe, self.steps, self.learner()
        if number == 0 or (recipe.evaluation.every and number % recipe.evaluation.every == 0):
            self._evaluate()
        began = time.monotonic()
        drawn = self.curriculum.draw(recipe.rows // recipe.group, seed=recipe.seed * APART + number)
        rows = [
            Row(task, seed, f"{number}/{place}")
            for place, (task, seed) in enumerate(drawn)
            for _ in range(recipe.group)
        ]
        found = self.rollouts.rollout(rows, number)
        rolled = time.monotonic()
        batch = collate(
            found,
            device=self.device,
            rewards=shuffled(found, [recipe.seed, 2, number]) if recipe.shuffle_rewards else (),
        )
        rise = min(1.0, (number + 1) / (recipe.rise or 1))
        metrics: dict[str, float] = {}
        if batch is None:
            self.done += 1
        else:
            metrics = self._updated(lambda: self._epochs(learner, batch, loss, recipe.lr * rise))
            metrics["learned"] = float((batch.advantages != 0).float().mean())
        for place, (task, _) in enumerate(drawn):
            self.curriculum.update(task, [each.reward for each in found if each.group == f"{number}/{place}"])
        ended = time.monotonic()
        self.seconds += ended - began
        line = {"done": self.done, "step": self.steps, **progress.told(found), "update": metrics}
        line["seconds"] = {"rollout": rolled - began, "learn": ended - rolled, "all": self.seconds}
        line["memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        self.curve.add(line)
        reward = "none" if line["reward"] is None else f"{line['reward']:+.3f}"
        self.say(f"step {self.steps}/{recipe.steps}  reward {reward}  {len(found) / (rolled - began):.1f} rollouts/s")

    def _epochs(self, learner: Learner, batch: Any, loss: Callable[..., Any], lr: float) -> dict[str, float]:
        """The updates on one batch; `drift` is that of the first, when sampler and learner have the same weights."""
        first = learner.update(batch, loss, self.recipe.options, lr=lr)
        last = first
        for _ in range(1, self.recipe.epochs):
            last = learner.update(batch, loss, self.recipe.options, lr=lr)
        return {**last, "drift": first["drift"]}

    def _updated(self, update: Callable[[], dict[str, float]]) -> dict[str, float]:
        """Do an update and count it: in between there is nothing that a checkpoint could hold."""
        self.whole = False
        metrics = update()
        self.policy.version += 1
        self.done += 1
        self.whole = True
        return metrics

    def _evaluate(self) -> None:
        """Try the policy on each set of tasks, always on the same draws; the best weights by the first set are kept."""
        results: dict[str, Any] = {}
        if self.done in self.tried:
            return
        for name, tasks in self.recipe.evaluation.sets.items():
            began = time.monotonic()
            drawn = Curriculum(members(tasks)).draw(self.recipe.evaluation.episodes, seed=self.recipe.seed)
            found = self.trials.rollout([Row(task, seed, name) for task, seed in drawn], 0)
            results[name] = {**progress.told(found), "rewards": [each.reward for each in found]}
            results[name]["seconds"] = time.monotonic() - began
            mean = results[name]["reward"]
            self.say(f"after step {self.steps}  {name}: reward {'none' if mean is None else f'{mean:+.3f}'}")
        if not results:
            return
        if progress.first(results) > self.best:
            self.best = progress.first(results)
            progress.save(self.folder / progress.BEST, {"model": self.policy.model.state_dict(), "step": self.steps})
        self.curve.add({"done": self.done, "step": self.steps, "evaluation": results})

    def _finish(self) -> None:
        """Leave the policy as a folder of transformers, and say what came of it."""
        best = progress.load(self.folder / progress.BEST, self.device)
        if best:
            self.policy.model.load_state_dict(best["model"])
        self.policy.model.save_pretrained(self.folder / "policy")
        self.policy.tokenizer.save_pretrained(self.folder / "policy")
        if best:  # the run's own weights are the last ones
            state = progress.load(self.folder / progress.LAST, self.device)
            self.policy.model.load_state_dict(state["model"] if state else best["model"])
        self.say("\n".join(progress.summary(self.folder)))


def shuffled(found: Sequence[Trajectory], seed: Sequence[int]) -> list[float]:
    """The rewards of those that have one, permuted among all of them: a control that nothing can be learned from."""
    rewards = [each.reward for each in found if each.reward is not None]
    return [float(each) for each in np.random.default_rng(seed).permutation(rewards)]
