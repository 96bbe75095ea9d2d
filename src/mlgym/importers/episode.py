"""A recorded run of the original as the records of an episode of ours."""

import json
import math
import re
from dataclasses import dataclass
from typing import Any

from mlgym import outcome
from mlgym.importers.forged import Suspicion, shown, suspicions
from mlgym.importers.recorded import Metrics, Move, Name, Recorded
from mlgym.importers.tasks import STEPS, Theirs
from mlgym.metrics import clip, potential
from mlgym.records import (
    Action,
    Attempt,
    Cost,
    EpisodeSpec,
    Limits,
    Message,
    Observation,
    Reply,
    Result,
    Step,
)
from mlgym.tools import parse, toolset

AGENT, BACKEND, END = "original", "imported", "end"
DEFAULT = {"temperature": 0.0, "top_p": 0.95}  # sampling of all published runs
TIMED_OUT = "EXECUTION TIMED OUT"
REFUSED = re.compile(r"introduced new syntax error|^Malformed |^Usage: |syntax error near|read-only file", re.MULTILINE)
ENDS = {  # what ended a run -> our words for the end and the boundary
    "submit": ("submitted", ""),
    "max_steps": ("steps", ""),
    "exit_context": ("context", "budget"),
    "exit_cost": ("money", "budget"),
    "exit_format": ("error", "agent"),
    "validate": ("error", "agent"),
}
GRADED = ("submitted", "autosubmission")  # exit states after which the final state had a score
FOREIGN = (
    "Imported from the original: scores are of its own graders and data, `validate` showed the test scores, nothing "
    "kept the agent from graders and answers, and no files of attempts were kept."
)


@dataclass(frozen=True)
class Converted:
    """An episode's records, its files as bytes, and what the checks for forged scores found."""

    spec: EpisodeSpec
    steps: list[Step]
    attempts: list[Attempt]
    result: Result
    calls: list[dict[str, Any]]
    suspicions: list[Suspicion]

    @property
    def files(self) -> dict[str, bytes]:
        """Every file of the episode's folder; the result is the last."""
        made = {"spec.json": self.spec.model_dump_json(indent=1).encode()}
        made["steps.jsonl"] = b"".join(step.model_dump_json().encode() + b"\n" for step in self.steps)
        if self.calls:
            made["calls.jsonl"] = b"".join(json.dumps(call).encode() + b"\n" for call in self.calls)
        for attempt in self.attempts:
            made[f"attempts/{attempt.n:04d}.json"] = attempt.model_dump_json(indent=1).encode()
        made["result.json"] = self.result.model_dump_json(indent=1).encode()
        return made


def convert(recorded: Recorded, theirs: Theirs) -> Converted:
    """The records of an episode that say what the recorded run says."""
    executed = recorded.moves[:STEPS]
    exit_state, cause = _exit(recorded.exit)
    attempts, scored_at = _attempts(recorded, executed, theirs, exit_state)
    found = suspicions(recorded, executed, theirs, scored_at)
    steps = _steps(executed, attempts, theirs, cause)
    spec = spec_of(recorded.folder, recorded.name, theirs)
    ended, boundary = ENDS.get(cause, ("error", ""))
    result = outcome.result(
        attempts,
        theirs.task,
        progress=theirs.progress,
        ended=ended,
        boundary=boundary,
        why=_why(recorded, exit_state, attempts),
        baseline={"test": theirs.start},
        scored=bool(recorded.exit) or bool(recorded.scores),
        steps=sum(step.action.tool != END for step in steps),
        cost=_cost(recorded, steps),
        isolation="none",
        backend=BACKEND,
        feedback="test",
        network=(),
        imported=recorded.folder,
        notes=tuple(_notes(recorded, theirs, found)),
    )
    if not result.scored:
        result = result.changed(progress=None)
        steps = [step.changed(reward=None) for step in steps]
    return Converted(spec, steps, attempts, result, _calls(recorded), found)


def spec_of(folder: str, name: Name, theirs: Theirs) -> EpisodeSpec:
    """The spec of a recorded run: all of it follows from the name of its folder."""
    return EpisodeSpec(
        task=theirs.ours,
        version=0,
        agent=AGENT if name.config == "default" else f"{AGENT}?config={name.config}",
        model=name.model,
        sampling={key: getattr(name, key) for key, usual in DEFAULT.items() if getattr(name, key) != usual},
        tools="classic",
        seed=name.run,
        sandbox=BACKEND,
        feedback="test",
        limits=Limits(steps=STEPS, command_s=theirs.command_s, money=name.money),
        network=(),
        imported=folder,
    )


def _exit(text: str | None) -> tuple[str, str]:
    """The two parts of an exit state: `autosubmission (max_steps)` -> autosubmission, max_steps."""
    state, _, cause = (text or "").partition("(")
    state = state.strip()
    return state, cause.strip(" )\n") or ("submit" if state == "submitted" else "")


def _attempts(
    recorded: Recorded, moves: list[Move], theirs: Theirs, exit_state: str
) -> tuple[list[Attempt], list[int]]:
    """The attempts with the steps that made them, the final one last; and the step of each recorded score.

    Each score belongs to the next `validate` that showed it; what is left over is the final evaluation's. Where that
    gave none, the last valid attempt stands in, as in the original's own tables.
    """
    made: list[Attempt] = []
    waiting, scored_at = list(recorded.scores), []
    for n, move in enumerate(moves, 1):
        if move.action.strip() != "validate":
            continue
        scores = waiting.pop(0) if waiting and _is(waiting[0], shown(move.observation)) else None
        if scores is not None:
            scored_at.append(n)
        made.append(_attempt(len(made), n, "validate", scores, theirs, _first_line(move.observation)))
    last = len(moves)
    while len(waiting) > 1 or (waiting and not moves):  # of evaluations whose steps are not recorded
        made.append(_attempt(len(made), last, "validate", waiting.pop(0), theirs, ""))
        scored_at.append(last)
    final = waiting.pop() if waiting else None
    if final is not None:
        scored_at.append(last + 1)
    kind = "submit" if exit_state == "submitted" else "end"
    end = _attempt(len(made), last, kind, final, theirs, _ended_without(recorded.exit))
    if not end.valid:
        stand_in = next((each for each in reversed(made) if each.valid), None)
        if stand_in is not None:
            end = end.changed(test=stand_in.test, fallback=True)
    return [*made, end], scored_at


def _is(scores: Metrics, seen: Metrics | None) -> bool:
    """Whether recorded scores are those that were shown."""
    return seen is not None and all(
        name in scores and (math.isclose(scores[name], value, rel_tol=1e-9) or str(scores[name]) == str(value))
        for name, value in seen.items()
    )


def _attempt(n: int, step: int, kind: Any, scores: Metrics | None, theirs: Theirs, why: str) -> Attempt:
    test = theirs.translated(scores) if scores is not None else None
    if scores is not None and test is None:
        why = f"the evaluation gave {', '.join(f'{name} {value:g}' for name, value in scores.items()) or 'nothing'}"
    return Attempt(n=n, step=step, kind=kind, valid=test is not None, why="" if test else why, test=test)


def _first_line(text: str) -> str:
    return next((line.strip()[:200] for line in text.splitlines() if line.strip()), "nothing was shown")


def _ended_without(text: str | None) -> str:
    return f"the run ended with {text}" if text else "the record does not say how the run ended"


def _steps(moves: list[Move], attempts: list[Attempt], theirs: Theirs, cause: str) -> list[Step]:
    """The steps, with rewards that sum to the final progress as those of our own episodes do."""
    tools = toolset("classic")
    validated = {attempt.step: attempt for attempt in attempts if attempt.kind == "validate"}
    final, best, paid = attempts[-1], 0.0, 0.0
    steps, asked = [], 0
    for n, move in enumerate(moves, 1):
        text = move.action.removesuffix("\n")
        framework = text.startswith("exit_") and n == len(moves)
        asked += not framework or cause == "exit_format"
        attempt = final if n == len(moves) and text == "submit" else validated.get(n) if text == "validate" else None
        if attempt is not None and attempt.valid:
            best = max(best, potential(theirs.progress(attempt.test)))
        after = best
        if n == len(moves):
            value = theirs.progress(final.test)
            after = 0.0 if value is None else clip(value, -1.0, 2.0)
        graded = attempt is not None or framework
        steps.append(
            Step(
                n=n,
                action=_end(text, cause) if framework else parse(text, tools).changed(thought=move.thought),
                observation=_observation(move, n, attempt),
                reward=after - paid,
                command_s=0.0 if graded else move.seconds,
                grader_s=move.seconds if graded else 0.0,
                attempt=attempt.n if attempt is not None else None,
                calls=asked,
            )
        )
        paid = after
    return steps


def _end(text: str, cause: str) -> Action:
    ended, boundary = ENDS.get(cause, ("error", ""))
    return Action(tool=END, args={"reason": ended, "boundary": boundary, "why": f"{text} of the original"})


def _observation(move: Move, n: int, attempt: Attempt | None) -> Observation:
    text, action = move.observation, move.action.strip()
    status: Any = "ok"
    if action == "submit" or action.startswith("exit_"):
        status = "end"
    elif TIMED_OUT in text:
        status = "timeout"
    elif REFUSED.search(text[:100_000]) or (attempt is not None and not attempt.valid):
        status = "error"
    return Observation(
        text=text,
        status=status,
        tool=action if action in ("validate", "submit") else "",
        hit="timeout" if status == "timeout" else "",
        validation=attempt.test if attempt is not None and attempt.kind == "validate" else None,
        steps_left=max(0, STEPS - n),
    )


def _cost(recorded: Recorded, steps: list[Step]) -> Cost:
    return Cost(
        money=recorded.money,
        tokens_in=recorded.tokens_in,
        tokens_out=recorded.tokens_out,
        calls=recorded.calls,
        command_s=sum(step.command_s for step in steps),
        grader_s=sum(step.grader_s for step in steps),
    )


def _why(recorded: Recorded, exit_state: str, attempts: list[Attempt]) -> str:
    if recorded.exit is None:
        return "There is no trajectory, so how it ended is not known."
    if not recorded.exit:
        return "The record does not say how it ended."
    if exit_state in GRADED and attempts[-1].valid:
        return "" if exit_state == "submitted" else f"It ended with {recorded.exit}."
    return f"It ended with {recorded.exit}, without a score of its last state."


def _notes(recorded: Recorded, theirs: Theirs, found: list[Suspicion]) -> list[str]:
    notes = [FOREIGN]
    if theirs.column:
        notes.append(f"The score is made of numbers that the submission itself states (the column {theirs.column}).")
    if theirs.factor != 1:
        notes.append(f"The score is their {theirs.scores[0]} times {theirs.factor:.6g}.")
    if (own := theirs.translated(recorded.baseline)) and own != {**own, **theirs.start}:
        values = ", ".join(f"{name} {value:g}" for name, value in recorded.baseline.items())
        notes.append(f"Its record has another baseline ({values}) than the published one, which counts here.")
    if len(recorded.moves) > STEPS:
        extra = ", ".join(move.action.strip().partition("\n")[0][:40] for move in recorded.moves[STEPS:][:3])
        notes.append(f"Recorded beyond step {STEPS} and not executed: {extra}.")
    answers = sum(role == "assistant" for role, _ in recorded.messages)
    if recorded.calls > answers > 0:
        notes.append(f"The model was asked {recorded.calls} times, {answers} of its answers are recorded.")
    for each in found:
        notes.append(f"{'Forged' if each.forged else 'Tried'}: {each.text}.")
    return notes


def _calls(recorded: Recorded) -> list[dict[str, Any]]:
    """The model's calls as the history has them: each is given all of it, of which it saw the last part."""
    calls: list[dict[str, Any]] = []
    new: list[Message] = []
    kept = 0
    last = len(recorded.messages) - 1
    for place, (role, text) in enumerate(recorded.messages):
        if role != "assistant":
            new.append(Message(role=role, content=text))  # type: ignore[arg-type]
            continue
        if not (place == last and recorded.moves and _silent(recorded.moves[-1])):
            calls.append(
                {
                    "keep": kept,
                    "messages": [message.model_dump(mode="json") for message in new],
                    "tools": [],
                    "reply": Reply(text=text, money=None, model=recorded.name.model).model_dump(mode="json"),
                }
            )
        kept, new = kept + len(new), [Message(role="assistant", content=text)]
    return calls


def _silent(move: Move) -> bool:
    """Whether the framework ended the run without an answer of the model's."""
    return move.action.strip() in ("exit_context", "exit_cost")
