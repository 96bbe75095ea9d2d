"""The shipped double of a policy: replies that are written down beforehand, as tokens that are bytes."""

from collections.abc import Callable, Sequence
from typing import Any

from mlgym.records import Message
from mlgym.rl.policy import Sampled

START, END, REPLY = 256, 257, 258  # a message begins, ends, and a reply begins; below are the bytes of UTF-8
Script = Sequence[str] | Callable[[str, int], str]


class ScriptedPolicy:
    """The n-th reply of a list answers a conversation with n - 1 replies in it, the last one all that are longer.

    A function is given the conversation as text and the seed. `logprob` is what it says of each of its tokens.
    """

    parallel, tokens = False, True
    end = (END,)

    def __init__(
        self,
        script: Script,
        *,
        name: str = "scripted",
        temperature: float = 1.0,
        version: int = 0,
        logprob: float = 0.0,
    ) -> None:
        self.name, self.temperature, self.version, self.logprob = name, temperature, version, logprob
        self._script = script

    def begin(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> list[int]:
        """The messages, and the beginning of a reply; tools are not shown."""
        return [*_written(messages), REPLY]

    def follow(self, messages: Sequence[Message]) -> list[int]:
        """The messages, and the beginning of a reply."""
        return [*_written(messages), REPLY]

    def sample(
        self, prompts: Sequence[Sequence[int]], max_tokens: Sequence[int], seeds: Sequence[int]
    ) -> list[Sampled]:
        """What the script says, cut where it is longer than `max_tokens`."""
        return [self._one(*each) for each in zip(prompts, max_tokens, seeds, strict=True)]

    def _one(self, prompt: Sequence[int], most: int, seed: int) -> Sampled:
        if callable(self._script):
            said = self._script(self.text(prompt), seed)
        else:
            said = self._script[min(prompt.count(REPLY), len(self._script)) - 1]
        ids = (*said.encode(errors="replace"), END)[:most]
        return Sampled(ids, (self.logprob,) * len(ids), "stop" if ids[-1] == END else "length")

    def text(self, ids: Sequence[int]) -> str:
        """The tokens as text; a message begins on a line of its own."""
        data = b"".join(bytes([each]) if each < START else b"\n" if each != END else b"" for each in ids)
        return data.decode(errors="replace").removeprefix("\n")


def _written(messages: Sequence[Message]) -> list[int]:
    """Each message: where it begins, its role, a line's end, its text, where it ends."""
    return [each for one in messages for each in (START, *f"{one.role}\n{one.content}".encode(), END)]
