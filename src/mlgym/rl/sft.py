"""Supervised fine-tuning: the likelihood of what somebody else wrote, in trajectories or exported chats."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlgym.errors import UsageError
from mlgym.records import Message, ToolCall
from mlgym.rl.batch import Batch
from mlgym.rl.policy import Policy
from mlgym.trajectory import Trajectory, Turn

if TYPE_CHECKING:
    from torch import Tensor


def loss(batch: Batch) -> tuple["Tensor", dict[str, float]]:
    """The mean negative log-likelihood of all tokens that a policy wrote, in nats."""
    assert batch.logprobs is not None
    loss = -batch.logprobs.sum() / batch.mask.sum().clamp(min=1)
    return loss, {}


def example(
    policy: Policy, encode: Any, messages: Sequence[Message], tools: Sequence[dict[str, Any]] = (), task: str = ""
) -> Trajectory:
    """A conversation as the trajectory of a rollout of `policy` that wrote its replies; its log-probabilities are 0.0.

    `encode` gives the tokens of a reply's text. What comes before the first reply is the prompt; what comes after the
    last is left out. Raises UsageError where there is no reply.
    """
    replies = [place for place, each in enumerate(messages) if each.role == "assistant"]
    if not replies or replies[0] == 0:
        raise UsageError(f"A conversation{f' on {task}' if task else ''} has no reply to learn from.")
    ids: list[int] = []
    mask: list[int] = []
    turns = []
    for number, place in enumerate(replies):
        if number:
            told = policy.follow(messages[replies[number - 1] + 1 : place])
            ids, mask = [*ids, *told], [*mask, *[0] * len(told)]
        said = [*encode(written(messages[place])), *policy.end]
        turns.append(Turn(start=len(ids), end=len(ids) + len(said)))
        ids, mask = [*ids, *said], [*mask, *[1] * len(said)]
    return Trajectory(
        task=task,
        prompt=tuple(policy.begin(messages[: replies[0]], tools)),
        ids=tuple(ids),
        mask=tuple(mask),
        logprobs=(0.0,) * len(ids),
        turns=tuple(turns),
        messages=tuple(messages),
        tools=tuple(tools),
        reward=0.0,
    )


def written(message: Message) -> str:
    """A reply as the policy would have written it: its text, and its calls as the protocol "tools" reads them."""
    calls = [f'<tool_call>\n{{"name": "{c.name}", "arguments": {c.arguments}}}\n</tool_call>' for c in message.calls]
    return "\n".join(filter(None, [message.content, *calls]))


def chat(line: Mapping[str, Any]) -> tuple[list[Message], list[dict[str, Any]]]:
    """The messages and tools of a line of `mlgym data export`, which has them as the chats of providers do.

    Raises UsageError for a line without them.
    """
    import json

    given = line.get("messages")
    if not isinstance(given, list) or not all(isinstance(each, dict) and "role" in each for each in given):
        raise UsageError("A chat should be a JSON object with a list `messages` of objects with role and content.")
    tools = line.get("tools") or []
    return [_message(each) for each in given], json.loads(tools) if isinstance(tools, str) else tools


def _message(given: Mapping[str, Any]) -> Message:
    import json

    calls = []
    for each in given.get("tool_calls") or ():
        function = each.get("function", each)
        arguments = function.get("arguments", "{}")
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        calls.append(ToolCall(id=str(each.get("id", "")), name=function["name"], arguments=text))
    content, id = given.get("content") or "", given.get("tool_call_id") or ""
    return Message(role=given["role"], content=content, calls=tuple(calls), id=id)
