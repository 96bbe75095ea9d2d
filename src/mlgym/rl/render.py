"""Conversations as tokens, by a chat template: the beginning once, then what follows each reply."""

import itertools
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from mlgym.errors import UsageError
from mlgym.models.local_chat import as_chat
from mlgym.records import Message, ToolCall

Render = Callable[[list[dict[str, Any]], Sequence[dict[str, Any]], bool], list[int]]
ASKED = Message(role="user", content="?")
# <|im_end|>, the same in signs of full width, [INST], <s>, </s>, <start_of_turn>, <tool_call>
USUAL = re.compile(r"<[|\uff5c][^<>\n]{1,60}>|\[/?[A-Z][A-Z_]+\]|</?s>|</?[a-z]+_[a-z_]+>")


class Chat:
    """A chat template: `render` turns messages, function schemas and whether a reply is to follow into tokens.

    A reply is never rendered again. What the environment says is rendered behind a dummy reply and cut off behind its
    `end`. Raises UsageError for a template that cannot be followed so: one that writes the conversation before a reply
    anew once more follows, ends replies with no token of its own, or has no place for what is said.
    """

    def __init__(self, render: Render, name: str) -> None:
        self._render, self._name = render, name
        self._head = self._shared(ASKED)
        if self._head == self._shared(Message(role="user", content="!")):
            raise self._refused("writes a conversation anew once more follows")
        self._opening = self._after([ASKED], True)
        one, other = (self._after([ASKED, _reply(text)], False) for text in ("ok", "no"))
        same = 0
        while same < min(len(one), len(other)) and one[-1 - same] == other[-1 - same]:
            same += 1
        if not same or one == other:
            raise self._refused("writes no end behind a reply, or not the reply itself")
        self.end: tuple[int, ...] = (one[len(one) - same],)
        self._checked: set[str] = set()

    def begin(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> list[int]:
        """The tokens of a conversation, up to where the first reply begins."""
        self._check("tool" if tools else "user")
        return self._tokens(messages, tools, True)

    def follow(self, messages: Sequence[Message]) -> list[int]:
        """The tokens of messages behind the end of a reply, up to where the next reply begins."""
        for message in messages:
            self._check(message.role)
        return self._behind(messages)

    def _behind(self, messages: Sequence[Message]) -> list[int]:
        asked = [ToolCall(id=one.id, name="f", arguments="{}") for one in messages if one.role == "tool"]
        rest = self._after([ASKED, _reply("" if asked else "ok", asked), *messages], True)
        if self.end[0] not in rest:
            raise self._refused("ends a reply in more than one way")
        return rest[rest.index(self.end[0]) + 1 :]

    def _check(self, role: str) -> None:
        """Once for each role: what is said in it must stand behind the reply, and a reply must begin after it."""
        if role in self._checked:
            return
        ids = ("call00001", "call00002") if role == "tool" else ("",)
        said = [[Message.model_validate({"role": role, "content": text, "id": id}) for id in ids] for text in "ab"]
        one, other = map(self._behind, said)
        if one == other or one[-len(self._opening) :] != self._opening:
            raise self._refused(f"has no place for what is said in the role '{role}' after a reply")
        self._checked.add(role)

    def _shared(self, asked: Message) -> list[int]:
        """The tokens of a question that stay whether a reply is to follow or not."""
        closed, opened = (self._tokens([asked], (), open_) for open_ in (False, True))
        pairs = zip(closed, opened, strict=False)
        return [one for one, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)]

    def _after(self, messages: Sequence[Message], open_: bool) -> list[int]:
        """The tokens of `messages` behind those of the question that they begin with."""
        whole = self._tokens(messages, (), open_)
        if whole[: len(self._head)] != self._head:
            raise self._refused("writes a conversation anew once more follows")
        return whole[len(self._head) :]

    def _tokens(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]], open_: bool) -> list[int]:
        try:
            return self._render(as_template(messages), tools, open_)
        except ValueError as error:
            raise self._refused(f"cannot write a conversation ({' '.join(str(error).split())[:200]})") from error

    def _refused(self, why: str) -> UsageError:
        return UsageError(f"The chat template of {self._name} {why}: use another template, or another protocol.")


def _reply(text: str, calls: Sequence[ToolCall] = ()) -> Message:
    return Message(role="assistant", content=text, calls=tuple(calls))


def as_template(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as chat templates take them: as OpenAI's interface does, but with text and with arguments as objects."""
    found = as_chat(messages)
    for message in found:
        for call in message.get("tool_calls", ()):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return found


def harmless(value: Any, broken: Callable[[str], str]) -> Any:
    """Messages of chat templates with `broken` done to all that is said, but by the prompt's author as a reply."""
    if isinstance(value, str):
        return broken(value)
    if isinstance(value, dict):
        own = value.get("role") == "assistant"
        return value if own else {k: each if k == "role" else harmless(each, broken) for k, each in value.items()}
    return [harmless(each, broken) for each in value] if isinstance(value, list) else value


def by_server(render: Render) -> Render:
    """The template of a server, whose marks are not known: what looks like one of the usual kinds is broken up."""

    def broken(text: str) -> str:
        return USUAL.sub(lambda found: f"{found[0][:1]} {found[0][1:]}", text)

    return lambda messages, tools, open_: render(harmless(messages, broken), tools, open_)


def by_tokenizer(tokenizer: Any) -> Render:
    """The template of a tokenizer of transformers. Marks of the template within what is said are broken up, so that no
    text can end its own message. What it renders raises ValueError where the template does not take it.
    """
    import jinja2

    marks = _marks(tokenizer)

    def broken(text: str) -> str:
        for mark in marks:
            text = text.replace(mark, f"{mark[:1]} {mark[1:]}")
        return text

    def render(messages: list[dict[str, Any]], tools: Sequence[dict[str, Any]], open_: bool) -> list[int]:
        try:
            ids: list[int] = tokenizer.apply_chat_template(
                harmless(messages, broken),
                tools=list(tools) or None,
                add_generation_prompt=open_,
                tokenize=True,
                return_dict=False,
            )
        except (jinja2.TemplateError, TypeError) as error:
            raise ValueError(str(error)) from error
        return list(ids)

    return render


def _marks(tokenizer: Any) -> list[str]:
    """What a tokenizer reads as a token of its own and is no text, the longest first: its special tokens, those that it
    does not list as such (of roles, in Llama 3), and added ones that its template writes (`<tool_call>` in Qwen 2.5).
    """
    added, template = tokenizer.added_tokens_decoder.values(), str(tokenizer.chat_template)
    known = {each.content for each in added if each.special or each.content in template}
    marks = {str(mark) for mark in tokenizer.all_special_tokens} | known
    return sorted((mark for mark in marks if len(mark.strip()) > 1), key=len, reverse=True)
