"""The rollout engine with the scripted policy, through the real environment."""

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgym.audit import audit
from mlgym.errors import SandboxError, UsageError
from mlgym.records import Brief, Message
from mlgym.rl import Engine, Row, Sampled, ScriptedPolicy
from mlgym.rl.talk import Talk
from mlgym.runs import open_run
from mlgym.session import Session
from mlgym.store import Episode, episodes
from mlgym.trajectory import Trajectory, read, write

GUESS = str(Path(__file__).parent.parent / "examples" / "guess")


class Watched(ScriptedPolicy):
    """A scripted policy that remembers what it was asked to sample after, batch by batch."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.asked: list[list[tuple[int, ...]]] = []

    def sample(
        self, prompts: Sequence[Sequence[int]], max_tokens: Sequence[int], seeds: Sequence[int]
    ) -> list[Sampled]:
        self.asked.append([tuple(prompt) for prompt in prompts])
        return super().sample(prompts, max_tokens, seeds)


def numbered(brief: Brief) -> list[Message]:
    """A prompt that tells the rows apart."""
    return [Message(role="user", content=f"row {brief.seed}")]


def call(name: str, **arguments: str) -> str:
    return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"


REPLIES = {
    "plain": ["ls", "   ", "echo 30 > guess.txt", "submit"],
    "text": ["```\nls\n```", "no action", "```\nvalidate\n```", "```\nsubmit\n```"],
    "tools": [
        "I look first." + call("bash", command="ls") + call("view", path="guess.py"),
        "no call",
        call("submit") + call("bash", command="never run"),
    ],
}


@pytest.mark.parametrize("protocol", REPLIES)
def test_what_was_sampled_after_is_the_beginning_of_the_trajectory(protocol: str) -> None:
    policy = Watched(REPLIES[protocol], logprob=-0.5, version=7)
    (found,) = Engine(policy, protocol=protocol).rollout([Row(GUESS, seed=3, group="g")])
    assert (found.task, found.seed, found.group, found.ended, found.status) == (GUESS, 3, "g", "submitted", "submitted")
    assert found.reward == pytest.approx(sum(found.parts.values())) and found.parts["format"] < 0
    whole = found.prompt + found.ids
    assert policy.asked == [[whole[: len(found.prompt) + turn.start]] for turn in found.turns]
    written = [place for turn in found.turns for place in range(turn.start, turn.end)]
    assert [place for place, mask in enumerate(found.mask) if mask] == written
    assert found.logprobs == tuple(-0.5 * mask for mask in found.mask)
    assert [policy.text(found.ids[turn.start : turn.end]) for turn in found.turns] == REPLIES[protocol]
    assert {turn.policy for turn in found.turns} == {7} and found.turns[-1].end == len(found.ids)
    several = protocol == "tools"
    assert [turn.step for turn in found.turns] == ([1, 3, 4] if several else [1, 2, 3, 4])
    assert [message.role for message in found.messages].count("tool") == 4 * several
    assert bool(found.tools) == several


@settings(max_examples=30)
@given(
    replies=st.lists(st.tuples(st.text(max_size=20), st.integers(1, 30), st.text(max_size=20)), max_size=5),
    asked=st.text(max_size=10),
)
def test_tokens_are_never_encoded_again(replies: list[tuple[str, int, str]], asked: str) -> None:
    policy = ScriptedPolicy(lambda text, seed: replies[seed][0], logprob=-1.0)
    talk = Talk(policy, [Message(role="user", content=asked)], ())
    for seed, (_, most, told) in enumerate(replies):
        (sampled,) = policy.sample([talk.seen], [most], [seed])
        before = talk.seen
        assert talk.said(sampled) == policy.text(sampled.ids)
        assert talk.seen == [*before, *sampled.ids]
        talk.told(talk.follow([Message(role="user", content=told)]))
        cut = sampled.stop == "length"
        assert (
            talk.mask[len(before) - len(talk.prompt) :][: len(sampled.ids) + cut] == [1] * len(sampled.ids) + [0] * cut
        )
    assert [talk.ids[turn.end - 1 + (turn.stop == "length")] for turn in talk.turns] == [257] * len(replies)


def test_rows_come_back_in_their_order_and_draw_apart() -> None:
    seeds: list[int] = []

    def script(text: str, seed: int) -> str:
        seeds.append(seed)
        return "submit"

    engine = Engine(ScriptedPolicy(script), environments=2, protocol="plain", seed=5)
    found = engine.rollout([Row(GUESS, seed) for seed in (4, 4, 1, 0)])
    assert [each.seed for each in found] == [4, 4, 1, 0] and len(set(seeds)) == 4
    first = sorted(seeds)
    seeds.clear()
    engine.rollout([Row(GUESS, 4)])
    assert not set(seeds) & set(first)
    seeds.clear()
    Engine(ScriptedPolicy(script), protocol="plain", seed=5).rollout([Row(GUESS, seed) for seed in (4, 4, 1, 0)])
    assert sorted(seeds) == first


@pytest.mark.slow
def test_a_long_action_holds_up_no_other_row() -> None:
    def script(text: str, seed: int) -> str:
        replies = text.count("assistant") or text.count("\nuser")
        return "submit" if replies > 3 else "sleep 6" if "row 0" in text and not replies else "true"

    policy = Watched(script)
    rows = [Row(GUESS, seed) for seed in (0, 1)]
    engine = Engine(policy, protocol="plain", prompt=f"{__name__}:numbered")
    slow, fast = engine.rollout(rows)
    assert slow.ended == fast.ended == "submitted"
    told = [[policy.text(prompt) for prompt in batch] for batch in policy.asked]
    assert [len(batch) for batch in told[-3:]] == [1, 1, 1]
    assert all("row 0" in batch[0] for batch in told[-3:])
    assert slow.turns[0].env_s > 5 > sum(turn.env_s for turn in fast.turns[:-1])


@pytest.mark.slow
def test_a_deadline_ends_what_goes_on_graded_as_it_stands() -> None:
    def script(text: str, seed: int) -> str:
        if "row 0" in text:
            return "sleep 60" if "echo" in text else "echo 42 > guess.txt"
        return "submit"

    engine = Engine(
        ScriptedPolicy(script), environments=2, protocol="plain", prompt=f"{__name__}:numbered", deadline=6.0
    )
    began = time.monotonic()
    late, done = engine.rollout([Row(GUESS, 0), Row(GUESS, 1)])
    assert time.monotonic() - began < 40
    assert (done.status, done.turns[-1].stop) == ("submitted", "stop")
    assert (late.status, late.ended, late.turns[-1].stop) == ("timeout", "time", "deadline")
    assert late.progress == pytest.approx(1.0) and late.reward is not None


@pytest.mark.slow
def test_an_action_that_outlasts_the_grace_loses_its_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlgym.rl.round.GRACE_S", 0.0)
    policy = ScriptedPolicy(["echo 42 > guess.txt", "validate", "sleep 60"])
    (late,) = Engine(policy, protocol="plain", deadline=6.0).rollout([Row(GUESS)])
    assert late.turns[-1].stop == "deadline" and late.progress == pytest.approx(1.0)


@pytest.mark.slow
def test_what_is_not_begun_by_the_deadline_is_not_scored() -> None:
    engine = Engine(ScriptedPolicy(["sleep 60"]), environments=1, protocol="plain", deadline=4.0)
    late, never = engine.rollout([Row(GUESS, 0), Row(GUESS, 1)])
    assert late.reward is not None and late.turns
    assert (never.reward, never.status, never.turns) == (None, "not_scored", ()) and "deadline" in never.why


def test_a_full_context_ends_the_episode() -> None:
    policy = ScriptedPolicy(["echo 42 > guess.txt", "seq 2000", "submit"])
    engine = Engine(policy, protocol="plain", prompt=f"{__name__}:numbered", context=400, max_tokens=30)
    (found,) = engine.rollout([Row(GUESS)])
    assert (found.ended, found.status, found.turns[-1].stop) == ("context", "budget", "context")
    assert len(found.turns) == 2 and len(found.prompt + found.ids) <= 400
    assert found.progress == pytest.approx(1.0)
    with pytest.raises(UsageError, match=r"The prompt of .* leaves no room for a reply in the context of 20"):
        Engine(policy, protocol="plain", context=20).rollout([Row(GUESS)])


def test_replies_can_be_short() -> None:
    engine = Engine(ScriptedPolicy(["ls"]), protocol="plain", max_tokens=3, limits={"steps": 2})
    (found,) = engine.rollout([Row(GUESS)])
    assert (found.ended, [turn.stop for turn in found.turns]) == ("steps", ["stop", "stop"])


def test_replies_without_an_action_give_up() -> None:
    engine = Engine(ScriptedPolicy(["hm"]), give_up=2)
    (found,) = engine.rollout([Row(GUESS)])
    assert (found.ended, found.status, len(found.turns)) == ("gave_up", "gave_up", 2)
    assert "no complete block" in found.messages[-1].content and "There is no tool" not in found.messages[-1].content


def test_a_cut_reply_gets_its_end_from_the_environment() -> None:
    engine = Engine(ScriptedPolicy(["echo " + "x" * 50, "submit"], logprob=-1.0), protocol="plain", max_tokens=10)
    (found,) = engine.rollout([Row(GUESS)])
    first = found.turns[0]
    assert (first.stop, first.end) == ("length", 10)
    assert (found.ids[10], found.mask[10], found.logprobs[10]) == (257, 0, 0.0)


def test_a_policy_that_fails_ends_all_and_leaves_nothing() -> None:
    def script(text: str, seed: int) -> str:
        if "row 1" in text and "echo" in text:
            raise RuntimeError("out of memory")
        return "sleep 60" if "row 0" in text else "echo"

    sessions: list[Session] = []

    class Kept(Engine):
        def make(self, task: str) -> Session:
            sessions.append(super().make(task))
            return sessions[-1]

    began = time.monotonic()
    with pytest.raises(RuntimeError, match="out of memory"):
        Kept(ScriptedPolicy(script), protocol="plain", prompt=f"{__name__}:numbered").rollout(
            [Row(GUESS, seed) for seed in (0, 1)]
        )
    assert time.monotonic() - began < 30
    assert [session.act("ls").text for session in sessions] == ["The episode has ended, so nothing was done."] * 2


class Unlucky(Engine):
    """An engine whose first sandboxes do not start."""

    failures = 0

    def make(self, task: str) -> Session:
        self.failures -= 1
        if self.failures >= 0:
            raise SandboxError("It did not start.")
        return super().make(task)


@pytest.mark.parametrize(("failures", "status", "why"), [(1, "submitted", ""), (2, "not_scored", "It did not start.")])
def test_what_the_infrastructure_loses_is_tried_once_more(failures: int, status: str, why: str) -> None:
    engine = Unlucky(ScriptedPolicy(["submit"]), protocol="plain")
    engine.failures = failures
    (found,) = engine.rollout([Row(GUESS)])
    assert (found.status, found.why, found.reward is None) == (status, why, bool(why))


def test_a_grader_that_fails_leaves_a_row_out(tmp_path: Path) -> None:
    task = shutil.copytree(GUESS, tmp_path / "broken")
    code = (task / "task.py").read_text()
    (task / "task.py").write_text(code + "\n\ndef grade(submission, private, **more):\n    raise RuntimeError('no')\n")
    (found,) = Engine(ScriptedPolicy(["submit"]), protocol="plain").rollout([Row(str(task))])
    assert (found.reward, found.status, found.progress) == (None, "not_scored", None) and found.why
    assert found.ids and found.messages


def test_every_second_group_is_stored_as_episodes(tmp_path: Path) -> None:
    policy = ScriptedPolicy(REPLIES["tools"], version=4, name="tiny")
    engine = Engine(policy, protocol="tools", store=tmp_path, every=2)
    found = engine.rollout([Row(GUESS, 1, group) for group in ("a", "b", "c") for _ in range(2)])
    stored = [Episode.read(folder) for folder in episodes(tmp_path)]
    assert [each.spec.seed for each in stored] == [1, 2, 3, 4]
    assert {each.folder.parent.name for each in stored} == {stored[0].folder.parent.name}
    assert "tiny" in stored[0].folder.parent.name and "version=4" in stored[0].folder.parent.name
    for each in stored:
        result = each.result
        assert result is not None and result.progress == found[0].progress and result.isolation == "full"
        assert [step.action.tool for step in each.steps()] == ["bash", "view", "none", "submit"]
        assert [step.calls for step in each.steps()] == [1, 1, 2, 3]
        assert sum(step.reward or 0 for step in each.steps()) == pytest.approx(found[0].reward)
        assert [reply.calls[0].name if reply.calls else "" for reply in each.replies()] == ["bash", "", "submit"]
        assert all(each.file(digest).exists() for one in each.attempts() for digest in one.files.values())
    run = open_run(tmp_path)
    assert len(run.columns()["progress"]) == 4 and not run.problems
    assert audit(tmp_path) == ([], [])


def test_the_same_groups_are_stored_where_a_run_goes_on(tmp_path: Path) -> None:
    engine = Engine(ScriptedPolicy(REPLIES["tools"]), protocol="tools", store=tmp_path, every=3)
    engine.rollout([Row(GUESS, 1, "a"), Row(GUESS, 1, "b")], 1)  # groups 2 and 3
    [stored] = [Episode.read(folder) for folder in episodes(tmp_path)]
    assert stored.result is not None and "group 'b'" in stored.result.notes[0]


def test_a_batch_is_written_and_read(tmp_path: Path) -> None:
    found = [Trajectory(task="t", prompt=(1,), ids=(2, 3), mask=(1, 0), logprobs=(-0.25, 0.0), reward=None)]
    write(tmp_path / "batch.jsonl", found)
    assert list(read(tmp_path / "batch.jsonl")) == found
    (tmp_path / "batch.jsonl").write_bytes((tmp_path / "batch.jsonl").read_bytes() + b"{}\n")
    with pytest.raises(UsageError, match="line 2, is no trajectory"):
        list(read(tmp_path / "batch.jsonl"))
    with pytest.raises(UsageError, match="cannot be read"):
        list(read(tmp_path / "none.jsonl"))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"protocol": "xml"}, "There is no protocol 'xml'"),
        ({"protocol": "plain", "prompt": "react"}, "does not go with protocol 'plain'"),
        ({"max_tokens": 0}, "at least one token"),
        ({"prompt": "mlgym.rl:none"}, "The prompt 'mlgym.rl:none' cannot be imported"),
    ],
)
def test_a_wrong_option_is_told(options: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        Engine(ScriptedPolicy(["submit"]), **options)
