"""The rollout engine with the scripted policy, through the real environment."""

import pytest

from mlgym.errors import UsageError
from mlgym.rl import Engine, Row, Sampled, ScriptedPolicy

TASK = "battle-of-sexes"


class Watched(ScriptedPolicy):
    """A scripted policy that remembers what it was asked to sample after."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]
        self.asked: list[tuple[int, ...]] = []

    def sample(self, prompts: object, max_tokens: object, seeds: object) -> list[Sampled]:
        self.asked += [tuple(prompt) for prompt in prompts]  # type: ignore[attr-defined]
        return super().sample(prompts, max_tokens, seeds)  # type: ignore[arg-type]


REPLIES = {
    "plain": ["ls", "   ", "echo hello", "submit"],
    "text": ["```\nls\n```", "no action", "```\nvalidate\n```", "```\nsubmit\n```"],
    "tools": [
        '<tool_call>{"name": "bash", "arguments": {"command": "ls"}}</tool_call>'
        '<tool_call>{"name": "view", "arguments": {"path": "strategy.py"}}</tool_call>',
        "no call",
        '<tool_call>{"name": "submit", "arguments": {}}</tool_call>',
    ],
}


@pytest.mark.parametrize("protocol", REPLIES)
def test_what_was_sampled_after_is_the_beginning_of_the_trajectory(protocol: str) -> None:
    policy = Watched(REPLIES[protocol], logprob=-0.5, version=7)
    (found,) = Engine(policy, protocol=protocol).rollout([Row(TASK, seed=3, group="g")])
    assert (found.task, found.seed, found.group, found.ended) == (TASK, 3, "g", "submitted")
    assert found.reward == pytest.approx(found.progress)
    whole = found.prompt + found.ids
    assert policy.asked == [whole[: len(found.prompt) + turn.start] for turn in found.turns]
    written = [place for turn in found.turns for place in range(turn.start, turn.end)]
    assert [place for place, mask in enumerate(found.mask) if mask] == written
    assert found.logprobs == tuple(-0.5 * mask for mask in found.mask)
    assert [policy.text(found.ids[turn.start : turn.end]) for turn in found.turns] == REPLIES[protocol]
    assert {turn.policy for turn in found.turns} == {7}
    assert found.turns[-1].end == len(found.ids)


def test_rows_come_back_in_their_order() -> None:
    policy = ScriptedPolicy(["submit"])
    found = Engine(policy, environments=2, protocol="plain").rollout([Row(TASK, seed) for seed in range(5)])
    assert [each.seed for each in found] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"protocol": "xml"}, "There is no protocol 'xml'"),
        ({"protocol": "plain", "prompt": "react"}, "does not go with protocol 'plain'"),
    ],
)
def test_a_wrong_option_is_told(options: dict[str, str], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        Engine(ScriptedPolicy(["submit"]), **options)  # type: ignore[arg-type]
