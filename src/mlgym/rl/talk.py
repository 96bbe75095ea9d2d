"""The tokens of one rollout as they come: what the policy wrote, and what it was told."""

from collections.abc import Sequence
from typing import Any

from mlgym.records import Message
from mlgym.rl.policy import Policy, Sampled
from mlgym.trajectory import Stop, Turn


class Talk:
    """One conversation in tokens. What was sampled stays as it is; what is told is appended, with mask 0."""

    def __init__(self, policy: Policy, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> None:
        self._policy, self.name, self.temperature = policy, policy.name, policy.temperature
        self.prompt = tuple(policy.begin(messages, tools))
        self.ids: list[int] = []
        self.mask: list[int] = []
        self.logprobs: list[float] = []
        self.turns: list[Turn] = []
        self.messages = list(messages)
        self.tools = tuple(tools)

    @property
    def seen(self) -> list[int]:
        """All tokens so far: what the next reply is sampled after."""
        return [*self.prompt, *self.ids]

    def said(self, sampled: Sampled) -> str:
        """Take a reply, at least one token; returns its text."""
        start = len(self.ids)
        self._append(sampled.ids, 1, sampled.logprobs)
        turn = Turn(
            start=start,
            end=len(self.ids),
            stop=sampled.stop,
            policy=self._policy.version,
            model_s=sampled.seconds,
        )
        self.turns.append(turn)
        return self._policy.text(sampled.ids)

    def follow(self, messages: Sequence[Message]) -> list[int]:
        """The tokens of these messages after the last reply, and before them the end of that where it has none."""
        end = self._policy.end
        ended = tuple(self.ids[-len(end) :]) == end
        return [*(() if ended else end), *self._policy.follow(messages)]

    def told(self, ids: Sequence[int]) -> None:
        """Append what the environment wrote."""
        self._append(ids, 0, [0.0] * len(ids))

    def mark(self, *, stop: Stop | None = None, step: int = 0, env_s: float = 0.0) -> None:
        """Write into the last turn why it was the last, the step that it led to, and seconds of the environment."""
        last = self.turns[-1]
        self.turns[-1] = last.changed(stop=stop or last.stop, step=last.step or step, env_s=last.env_s + env_s)

    def fields(self) -> dict[str, Any]:
        """What the conversation was, as fields of a Trajectory."""
        told: dict[str, Any] = {
            "messages": tuple(self.messages),
            "tools": self.tools,
            "temperature": self.temperature,
            "model": self.name,
        }
        if not self._policy.tokens:
            return told | {"turns": tuple(turn.changed(start=0, end=0) for turn in self.turns)}
        return told | {
            "prompt": self.prompt,
            "ids": tuple(self.ids),
            "mask": tuple(self.mask),
            "logprobs": tuple(self.logprobs),
            "turns": tuple(self.turns),
        }

    def _append(self, ids: Sequence[int], mask: int, logprobs: Sequence[float]) -> None:
        self.ids += ids
        self.mask += [mask] * len(ids)
        self.logprobs += logprobs
