"""What acts: a policy reads tokens and writes tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mlgym.records import Message
from mlgym.trajectory import Stop


@dataclass(frozen=True)
class Sampled:
    """One reply: its tokens as they were sampled, the end of the turn among them where it was, and their `logprobs`.

    Those are in nats and of the distribution that was sampled from, at the policy's temperature. `seconds` are those of
    its batch. `why` says that there is none because the sampler failed, which is no doing of the policy's.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    stop: Stop = "stop"
    seconds: float = 0.0
    why: str = ""


class Policy(Protocol):
    """Tokens in, tokens out. All is called from one thread, but for `sample` of a policy that is `parallel`.

    `version` counts the updates of its weights, `end` are the tokens with which its chat template ends a reply. One
    that is `parallel` is asked for each reply by itself, from several threads: a server makes batches of its own. Where
    `tokens` is False they are not the model's, but only how the text is carried, and trajectories come without them.
    """

    name: str
    version: int
    temperature: float
    end: tuple[int, ...]
    parallel: bool
    tokens: bool

    def begin(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> list[int]:
        """The tokens of a conversation up to where the first reply begins; `tools` are function schemas, or none."""
        ...

    def follow(self, messages: Sequence[Message]) -> list[int]:
        """The tokens between the `end` of a reply and the beginning of the next one: what the environment says."""
        ...

    def sample(
        self, prompts: Sequence[Sequence[int]], max_tokens: Sequence[int], seeds: Sequence[int]
    ) -> list[Sampled]:
        """A reply to each prompt, of at most so many tokens; the same seed on the same prompt draws the same.

        A seed has 31 bits.
        """
        ...

    def text(self, ids: Sequence[int]) -> str:
        """What tokens of a reply say, without the marks of the template."""
        ...
