"""How a policy and an environment speak: the conversation's beginning, the actions in a reply, and the answer to them.

"plain": the whole reply is one command line. "text": the command stands in a fenced block, as the agent `react` has it.
"tools": calls of tools as the chat templates of Hermes and Qwen write them, {"name": …, "arguments": …} in <tool_call>.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

from mlgym import names
from mlgym.agents.prompts import Prompts
from mlgym.agents.replies import Want, wants
from mlgym.agents.written import calls, thinking
from mlgym.env import render_brief
from mlgym.errors import UsageError
from mlgym.records import Action, Brief, Message, Reply, ToolCall
from mlgym.trajectory import Stop

PROTOCOLS = ("plain", "text", "tools")
NONE = "none"  # the action of a reply without one
EMPTY = "Your reply was empty, so nothing was done."
WRONG = 2_000  # characters of a reply without an action that the environment is given


@cache
def shipped() -> Prompts:
    """The shipped templates, read once."""
    return Prompts()


def opening(prompt: str, protocol: str, brief: Brief) -> list[Message]:
    """The messages before the first reply: those of `react`, the brief as text, or what a function of the user's makes.

    `prompt` is "react", "brief", `package.module:function` (of the brief), or empty: the brief where a reply is plain,
    else those of `react`.
    """
    if prompt == "brief" or (not prompt and protocol == "plain"):
        return [Message(role="user", content=render_brief(brief))]
    if prompt in ("", "react"):
        words = shipped()
        system = words.system(brief, native=protocol == "tools")
        return [Message(role="system", content=system), Message(role="user", content=words.task(brief))]
    made: Any = names.called("prompt", prompt, names.resolve(prompt, {}, "prompt"), brief)
    if not isinstance(made, list | tuple) or not made or not all(isinstance(each, Message) for each in made):
        raise UsageError(f"The prompt '{prompt}' should return a list of mlgym.records.Message, at least one.")
    return list(made)


def checked(protocol: str, prompt: str) -> None:
    """Raises UsageError for a protocol that there is not, and for a prompt that asks for another one."""
    if protocol not in PROTOCOLS:
        raise UsageError(f"There is no protocol '{protocol}'; there are {', '.join(PROTOCOLS)}.")
    if protocol == "plain" and prompt == "react":
        raise UsageError("The prompt 'react' asks for fenced blocks or calls, so it does not go with protocol 'plain'.")
    if prompt not in ("", "react", "brief"):
        names.resolve(prompt, {"brief": "", "react": ""}, "prompt")


def asked(text: str, stop: Stop, protocol: str, brief: Brief, turn: int) -> list[Want]:
    """What a reply asks for, at least one thing; where that is no action, the environment is given the action `none`.

    `turn` is the reply's number, which its calls have in common.
    """
    if protocol == "plain":
        line = thinking(text)[1].strip()
        found = [Want(Action(tool="", args={"text": line}) if line else None, "" if line else EMPTY)]
    else:
        native = protocol == "tools"
        reply = Reply(
            text=text, calls=called(text, turn) if native else (), stop="stop" if stop == "stop" else "length"
        )
        found = wants(reply, brief, shipped(), native=native)
    none = Action(tool=NONE, args={"reply": text[:WRONG]})
    joined = f"reply-{turn}"
    return [
        want._replace(action=(want.action or none.changed(id=want.id or "")).changed(call=joined)) for want in found
    ]


def called(text: str, turn: int) -> tuple[ToolCall, ...]:
    """The calls of tools in a reply; those of one reply are told apart by their ids."""
    found = calls(thinking(text)[1])
    return tuple(call.changed(id=f"call_{turn}_{place}") for place, call in enumerate(found))


def said(text: str, protocol: str, turn: int) -> Message:
    """A reply as a message: its text, and with protocol "tools" its calls apart from it."""
    found = called(text, turn) if protocol == "tools" else ()
    content = text.partition("<tool_call>")[0].rstrip() if found else text
    return Message(role="assistant", content=content, calls=found)


def answers(want_texts: Sequence[tuple[Want, str]]) -> list[Message]:
    """The messages that answer a reply: one for each of its calls, and one for what was asked for otherwise."""
    told = [(want.id, _shown(want, text)) for want, text in want_texts]
    plain = "\n\n".join(text for id, text in told if id is None)
    by_call = [Message(role="tool", content=text, id=id) for id, text in told if id is not None]
    return [*by_call, *([Message(role="user", content=plain)] if plain or not by_call else [])]


def _shown(want: Want, text: str) -> str:
    """What came of one thing, with the note on it; where there was no action the note says it all."""
    missing = want.action is not None and want.action.tool == NONE
    return "\n".join(filter(None, (want.note, "" if missing and want.note else text)))
