"""Trajectories in Harbor's interchange format, ATIF v1.8: https://www.harborframework.com/docs/agents/trajectory-format.

Each row is one document. Where the sampler's tokens are known they stand in the metrics of each step.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from mlgym.exporters import words
from mlgym.exporters.chat import How, Row, arguments
from mlgym.exporters.dialogue import END, NOTHING
from mlgym.exporters.reading import Sample
from mlgym.exporters.shape import Shape
from mlgym.records import Message, Reply, Step, ToolCall
from mlgym.trajectory import Trajectory

VERSION = "ATIF-v1.8"
ATIF: dict[str, Shape] = {
    "schema_version": "string",
    "session_id": "string",
    "trajectory_id": "string",
    "agent": "json",
    "steps": ["json"],
    "notes": "string",
    "final_metrics": "json",
    "extra": "json",
}


def document(sample: Sample, how: How) -> Iterator[Row]:
    """The episode with all of its steps, or the trajectory, as one document."""
    told = list(_told(sample, how))
    if sample.trajectory:
        told += _turns(sample.trajectory)
        tools: Sequence[dict[str, Any]] = sample.trajectory.tools
    else:
        assert sample.spec
        told += _steps(sample)
        tools = how.schemas(sample.spec)
    version = str(sample.spec.version) if sample.spec else "0"
    yield {
        "schema_version": VERSION,
        "session_id": sample.id,
        "trajectory_id": sample.id,
        "agent": {
            "name": sample.agent,
            "version": "mlgym",
            **({"model_name": sample.model} if sample.model else {}),
            **({"tool_definitions": list(tools)} if tools else {}),
        },
        "steps": [{"step_id": number, **step} for number, step in enumerate(told, 1)],
        "final_metrics": _totals(sample, len(told)),
        "extra": {
            "task": sample.task,
            "task_version": version,
            "seed": sample.seed,
            "progress": sample.progress,
            "noise": sample.noise,
            "ended": sample.result.ended if sample.result else sample.trajectory.ended if sample.trajectory else "",
        },
    }


def _told(sample: Sample, how: How) -> Iterator[Row]:
    """What comes before the first reply."""
    if sample.trajectory:
        messages: Sequence[Message] = sample.trajectory.messages
        replies = [place for place, each in enumerate(messages) if each.role == "assistant"]
        messages = messages[: replies[0]] if replies else messages
    else:
        assert sample.home and sample.spec
        messages = words.head(sample.home, sample.spec, sample.result)
    for each in messages:
        yield {"source": each.role if each.role in ("system", "user") else "user", "message": each.content}


def _steps(sample: Sample) -> Iterator[Row]:
    """A step for each recorded one; the model's calls since the one before are summed up in its metrics."""
    calls, asked = [call.reply for call in sample.calls], 0
    for step in sample.recorded:
        if step.action.tool == END:
            continue
        replies, asked = calls[asked : step.calls], max(asked, step.calls)
        extra: Row = {"reward": step.reward, "status": step.observation.status}
        extra |= {"marks": list(step.marks)} if step.marks else {}
        extra |= {"validation": step.observation.validation} if step.observation.validation else {}
        yield {
            "source": "agent",
            "message": _message(step),
            **_called(_calls(step), step.observation.text),
            "llm_call_count": len(replies),
            **({"metrics": _metrics(replies)} if replies else {}),
            "extra": {**extra, "command_s": step.command_s, "model_s": step.model_s, "grader_s": step.grader_s},
        }


def _message(step: Step) -> str:
    if step.action.tool in ("", NOTHING):
        said = step.action.args.get("text") or step.action.args.get("reply") or ""
        return "\n\n".join(filter(None, (step.action.thought, str(said))))
    return step.action.thought


def _calls(step: Step) -> list[Row]:
    if step.action.tool in ("", NOTHING):
        return []
    return [{"tool_call_id": f"call_{step.n}", "function_name": step.action.tool, "arguments": step.action.args}]


def _called(calls: list[Row], answer: str) -> Row:
    source = {"source_call_id": calls[0]["tool_call_id"]} if calls else {}
    told: Row = {"observation": {"results": [{**source, "content": answer}]}}
    return {"tool_calls": calls, **told} if calls else told


def _metrics(replies: Sequence[Reply]) -> Row:
    found: Row = {
        "prompt_tokens": sum(reply.tokens_in for reply in replies),
        "completion_tokens": sum(reply.tokens_out for reply in replies),
        "cached_tokens": sum(reply.tokens_cached for reply in replies),
    }
    money = [reply.money for reply in replies]
    if None not in money:
        found["cost_usd"] = sum(filter(None, money))
    return found


def _turns(found: Trajectory) -> Iterator[Row]:
    """A step for each reply, with the tokens that it was sampled after and those that it has."""
    replies = [place for place, each in enumerate(found.messages) if each.role == "assistant"]
    for number, place in enumerate(replies):
        end = replies[number + 1] if number + 1 < len(replies) else len(found.messages)
        each, answers = found.messages[place], found.messages[place + 1 : end]
        told: Row = {"source": "agent", "message": each.content, "llm_call_count": 1}
        if each.calls:
            told["tool_calls"] = [_call(call) for call in each.calls]
        if answers:
            known = {call.id for call in each.calls}
            told["observation"] = {
                "results": [
                    {**({"source_call_id": one.id} if one.id in known else {}), "content": one.content}
                    for one in answers
                ]
            }
        if number < len(found.turns):
            told |= _sampled(found, number)
        yield told


def _sampled(found: Trajectory, number: int) -> Row:
    turn = found.turns[number]
    if not found.ids:
        return {"extra": {"stop": turn.stop, "policy": turn.policy}}
    before = [*found.prompt, *found.ids[: turn.start]]
    own = list(found.ids[turn.start : turn.end])
    return {
        "metrics": {
            "prompt_tokens": len(before),
            "completion_tokens": len(own),
            "prompt_token_ids": before,
            "completion_token_ids": own,
            "logprobs": list(found.logprobs[turn.start : turn.end]),
        },
        "extra": {"stop": turn.stop, "policy": turn.policy, "model_s": turn.model_s, "env_s": turn.env_s},
    }


def _call(call: ToolCall) -> Row:
    found = arguments(call.arguments)
    own = found if isinstance(found, dict) else {"text": found}
    return {"tool_call_id": call.id, "function_name": call.name, "arguments": own}


def _totals(sample: Sample, count: int) -> Row:
    found: Row = {"total_steps": count}
    if sample.result and sample.model:
        cost = sample.result.cost
        found |= {
            "total_prompt_tokens": cost.tokens_in,
            "total_completion_tokens": cost.tokens_out,
            "total_cached_tokens": cost.tokens_cached,
        }
        found |= {} if cost.money is None else {"total_cost_usd": cost.money}
    return found
