"""An episode as trainers and servers drive it."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlgym.errors import UsageError
from mlgym.records import Action, Limits
from mlgym.session import AFTER_END, LocalSession, Outcome

GUESS = Path(__file__).parent.parent / "examples" / "guess"
WRITE = Action(tool="create", args={"path": "guess.txt", "content": "42"})


@pytest.fixture
def session() -> Iterator[LocalSession]:
    made = LocalSession(GUESS, limits=Limits(steps=6, command_s=10))
    yield made
    made.close()


def test_rewards_and_their_parts_add_up(session: LocalSession) -> None:
    assert "hidden number" in session.reset(seed=5) and session.brief.seed == 5
    assert (session.status, session.done, session.progress) == ("not_scored", False, None)
    outcomes = [session.call("create", WRITE.args), session.act("validate"), session.act("submit")]
    assert [outcome.done for outcome in outcomes] == [False, False, True]
    assert session.steps == 3 and session.status == "submitted" and session.progress == pytest.approx(1.0)
    assert session.reward == pytest.approx(sum(outcome.reward or 0 for outcome in outcomes))
    assert session.reward == pytest.approx(sum(session.parts.values()))


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (lambda session: session.finish("time"), "timeout"),
        (lambda session: session.finish("context"), "budget"),
        (lambda session: session.finish("gave_up"), "gave_up"),
        (lambda session: [session.act("pwd") for _ in range(5)][-1], "budget"),
        (lambda session: session.act("rm *; exit") and session.act("submit"), "no_submission"),
    ],
)
def test_every_end_has_its_status(session: LocalSession, end: Callable[[LocalSession], Outcome], status: str) -> None:
    session.reset()
    session.act(WRITE)
    assert end(session).done
    assert session.status == status and session.reward is not None


def test_after_the_end_nothing_happens(session: LocalSession) -> None:
    session.reset()
    session.act(WRITE)
    session.finish("gave_up")
    reward, steps = session.reward, session.steps
    for again in (session.act("rm guess.txt"), session.call("validate", {}), session.finish("time")):
        assert (again.text, again.reward, again.done) == (AFTER_END, 0.0, True)
    assert (session.reward, session.steps, session.status) == (reward, steps, "gave_up")
    session.reset()
    assert not session.done and session.steps == 0 and session.act("pwd").done is False


def test_a_tool_that_there_is_not_is_the_agents_mistake(session: LocalSession) -> None:
    session.reset()
    assert not session.call("end", {"reason": "submitted"}).done
    outcome = session.call("fly", {"to": "the moon"})
    assert "There is no tool 'fly'" in outcome.text and not outcome.done
    assert outcome.info["observation"]["status"] == "format" and session.parts["format"] < 0


def test_a_deadline_stops_a_command_and_what_was_made_is_graded(session: LocalSession) -> None:
    session.reset()
    session.act(WRITE)
    session.deadline = time.monotonic() + 0.5
    began = time.monotonic()
    assert "Stopped after" in session.act("sleep 60").text
    outcome = session.act("rm guess.txt")
    assert time.monotonic() - began < 40
    assert outcome.truncated and outcome.info["ended"] == "time"
    assert session.status == "timeout" and session.progress == pytest.approx(1.0)


def test_it_can_be_closed_at_any_time() -> None:
    session = LocalSession(GUESS)
    session.close()
    session.close()
    with pytest.raises(UsageError, match="closed"):
        session.reset()
    assert session.act("ls").text == AFTER_END


def test_closing_ends_an_action_under_way(session: LocalSession) -> None:
    session.reset()
    found: list[Outcome] = []
    worker = threading.Thread(target=lambda: found.append(session.act("sleep 60")))
    worker.start()
    time.sleep(0.3)
    began = time.monotonic()
    session.close()
    worker.join(40)
    assert time.monotonic() - began < 40 and found and found[0].done


def test_before_an_episode_it_says_so(session: LocalSession) -> None:
    for early in (lambda: session.act("ls"), lambda: session.brief):
        with pytest.raises(UsageError, match="no episode yet"):
            early()
