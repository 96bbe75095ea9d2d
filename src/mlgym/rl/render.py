"""Conversations as tokens, by a chat template: the beginning once, then what follows each reply."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from mlgym.errors import UsageError
from mlgym.models.local_chat import as_chat
from mlgym.records import Message, ToolCall

Render = Callable[[list[dict[str, Any]], Sequence[dict[str, Any]], bool], list[int]]
ASKED = Message(role="user", content="?")


class Chat:
    """A chat template: `render` turns messages, function schemas and whether a reply is to follow into tokens.

    A reply is never rendered again. What the environment says is rendered after a dummy reply and cut off behind its
    `end`, so the template must write a conversation and a reply to it with that conversation's tokens first. Raises
    UsageError for one that does not, and for one that writes nothing with which a reply ends.
    """

    def __init__(self, render: Render, name: str) -> None:
        self._render, self._name = render, name
        before = self._tokens([ASKED], (), True)
        one, other = (
            self._after(before, [ASKED, Message(role="assistant", content=text)], False) for text in ("ok", "no")
        )
        same = 0
        while same < min(len(one), len(other)) and one[-1 - same] == other[-1 - same]:
            same += 1
        if not same:
            raise UsageError(f"The chat template of {name} writes nothing behind a reply, so its end cannot be told.")
        self.end: tuple[int, ...] = (one[len(one) - same],)

    def begin(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> list[int]:
        """The tokens of a conversation, up to where the first reply begins."""
        return self._tokens(messages, tools, True)

    def follow(self, messages: Sequence[Message]) -> list[int]:
        """The tokens of messages behind the end of a reply, up to where the next reply begins."""
        asked = [ToolCall(id=one.id, name="f", arguments="{}") for one in messages if one.role == "tool"]
        reply = Message(role="assistant", content="ok", calls=tuple(asked))
        rest = self._after(self._tokens([ASKED], (), True), [ASKED, reply, *messages], True)
        if self.end[0] not in rest:
            raise UsageError(
                f"The chat template of {self._name} ends a reply in more than one way, so it cannot be used."
            )
        return rest[rest.index(self.end[0]) + 1 :]

    def _after(self, before: list[int], messages: Sequence[Message], open_: bool) -> list[int]:
        """The tokens of `messages` behind those of a conversation that they go on from."""
        whole = self._tokens(messages, (), open_)
        if whole[: len(before)] != before:
            raise UsageError(
                f"The chat template of {self._name} writes a conversation anew once a reply follows, so replies cannot "
                "be kept as they were sampled: use another template."
            )
        return whole[len(before) :]

    def _tokens(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]], open_: bool) -> list[int]:
        return self._render(as_template(messages), tools, open_)


def as_template(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as chat templates take them: as OpenAI's interface does, but with text and with arguments as objects."""
    found = as_chat(messages)
    for message in found:
        for call in message.get("tool_calls", ()):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return found


def by_tokenizer(tokenizer: Any) -> Render:
    """The template of a tokenizer of transformers. Marks of the template within what is said are broken up, so that no
    text can end its own message.
    """
    marks = sorted((str(mark) for mark in tokenizer.all_special_tokens), key=len, reverse=True)

    def harmless(text: str) -> str:
        for mark in marks:
            text = text.replace(mark, f"{mark[:1]} {mark[1:]}") if len(mark) > 1 else text
        return text

    def render(messages: list[dict[str, Any]], tools: Sequence[dict[str, Any]], open_: bool) -> list[int]:
        said = [{**message, "content": harmless(message["content"])} for message in messages]
        ids: list[int] = tokenizer.apply_chat_template(
            said, tools=list(tools) or None, add_generation_prompt=open_, tokenize=True, return_dict=False
        )
        return list(ids)

    return render
