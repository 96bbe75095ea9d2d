"""The agent that lets a language model think, act and observe in turn, by tool calls or by a text protocol."""

from mlgym.agents import Flow
from mlgym.agents.budget import Account, Budget
from mlgym.agents.commands import tool_names
from mlgym.agents.context import POLICIES, Conversation
from mlgym.agents.prompts import Prompts, example
from mlgym.agents.replies import said, wants
from mlgym.errors import ToolsRefused, UsageError
from mlgym.models import Model
from mlgym.records import Brief, Message, Observation

PROTOCOLS = ("auto", "tools", "text")
MISTAKES = 3


def react(
    brief: Brief,
    model: Model | None,
    *,
    protocol: str = "auto",
    strict: bool = False,
    mistakes: int = MISTAKES,
    context: str = "last",
    window: int = 10,
    tokens: int = 0,
    warn: int = 1,
    prompts: str = "",
    demonstration: str = "",
) -> Flow:
    """Ask the model, do what it says, show it what came of it, until it submits.

    `protocol` is "tools" (native tool calls), "text" (commands in fenced blocks), or "auto": tools, and text where the
    server refuses them or the set has no tool for the shell. `strict` takes replies with several blocks, or with none
    that is closed, for mistakes. After `mistakes` replies in a row without an action the agent gives up.

    `context` says how the conversation is kept within the model's window of `tokens` (0: as the model tells): "last"
    (of all but the last `window` observations or a few more only the ends), "summarise" or "cut" (the oldest turns).
    With `warn` steps left, or with nearly no money, tokens or seconds, it is told to submit. `prompts` is a folder of
    templates, `demonstration` a text file or a recorded episode that is shown first.
    """
    if model is None:
        raise UsageError("The agent react needs a language model: name one with -m provider/model.")
    _one_of("protocol", protocol, PROTOCOLS)
    _one_of("context", context, POLICIES)
    if min(mistakes, window, tokens, warn) < 0:
        raise UsageError("The options mistakes, window, tokens and warn of react are numbers from 0 on.")
    words, shown = Prompts(prompts), example(demonstration) if demonstration else ""
    account = Account(model)
    budget = Budget(brief, account, warn)

    def head(native: bool) -> list[Message]:
        task = words.task(brief)
        task = f"{words('example', text=shown)}\n\n{task}" if shown else task
        return [Message(role="system", content=words.system(brief, native)), Message(role="user", content=task)]

    able = getattr(model, "native", None) is not False and "bash" in tool_names(brief)
    native = protocol == "tools" or (protocol == "auto" and able)
    size = tokens or getattr(model, "context", None)
    talk = Conversation(head(native), words, policy=context, window=window, tokens=size)
    wrong = turn = step = refused = 0
    while wrong < mistakes:
        try:
            reply = talk.ask(account, brief.tools if native else ())
        except ToolsRefused:
            if protocol == "tools" or refused:
                raise
            refused, native = 1, False
            talk.in_text(head(native))
            continue
        asked = wants(reply, brief, words, native=native, strict=strict)
        turn, wrong = turn + 1, wrong + 1
        talk.add(said(reply, wrong=not any(want.action for want in asked)))
        for want in asked:
            if want.action is None:
                talk.answer(want.note, want.id)
                continue
            wrong, step = 0, step + 1
            seen = yield want.action.changed(call=f"reply-{turn}")
            if seen.status == "end":
                return None
            talk.answer(_shown(seen, want.note, words, budget, 0 if native else step), want.id)
    return f"The model's last {mistakes} replies had no action that could be taken."


def _shown(seen: Observation, note: str, words: Prompts, budget: Budget, step: int) -> str:
    """The observation as the model is shown it, with what is left, and whether it must submit now. In the text protocol
    (`step` is not 0) it ends as a prompt of the shell does.
    """
    text = seen.text if seen.text.strip() else words("no_output")
    last = budget.last(seen)
    last = words("last_call", why=last) if last else ""
    if not step:
        return "\n".join(filter(None, (note, text, budget.left(seen), last)))
    left = budget.left(seen.changed(steps_left=None))
    if text.endswith("bash-$"):  # the environment told the position
        return "\n".join(filter(None, (note, left, last, text)))
    steps = seen.steps_left if seen.steps_left is not None else "unlimited"
    position = f"(Current Step: {step}, Remaining Steps: {steps})"
    return "\n".join(filter(None, (text, note, position, left, last, "bash-$")))


def _one_of(option: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise UsageError(f"The option {option} of react is {', '.join(known[:-1])} or {known[-1]}, not '{given}'.")
