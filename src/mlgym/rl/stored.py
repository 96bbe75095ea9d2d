"""Rollouts as ordinary episodes on disk: RUN/TASK/METHOD/SEED, METHOD telling the policy and its version.

What reads episodes reads these too. The number SEED counts the rollouts of one task by one version of the policy.
"""

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlgym import outcome
from mlgym.env import END
from mlgym.errors import GradingError
from mlgym.kept import Kept
from mlgym.records import Attempt, Cost, EpisodeSpec, Observation, Reply, Result, Split, Step
from mlgym.rl.live import Live
from mlgym.session import Session
from mlgym.store import Episode, episode_folder
from mlgym.task import load_task

CHOOSING = threading.Lock()
SPLITS: tuple[Split, ...] = ("validation", "test")


def spec(live: Live, protocol: str, options: dict[str, Any]) -> EpisodeSpec:
    """What decided a rollout; `options` are those of the session."""
    assert live.session is not None and live.talk is not None
    brief, talk = live.session.brief, live.talk
    told = {key: options[key] for key in ("tools", "sandbox", "python", "network") if key in options}
    return EpisodeSpec(
        task=live.row.task,
        version=load_task(live.row.task).version,
        agent=f"policy?protocol={protocol}",
        model=talk.name,
        sampling={"temperature": talk.temperature, "version": talk.turns[-1].policy if talk.turns else 0},
        seed=live.row.seed,
        feedback=brief.feedback,
        limits=brief.limits,
        **told,
    )


def keep(live: Live, run: Path, wanted: EpisodeSpec) -> None:
    """Store a rollout that has ended, while its session is still open, under the first seed that is free."""
    with CHOOSING:
        while (folder := episode_folder(run, wanted)).exists():
            wanted = wanted.changed(seed=wanted.seed + 1)
        store = Episode.open(folder, wanted)
    with contextlib.closing(store):
        for messages, reply in _replies(live):
            assert live.talk is not None
            store.add_call(messages, live.talk.tools, reply)
        for step in _steps(live):
            store.add_step(step)
        store.finish(_result(live, store))


def _replies(live: Live) -> Iterator[tuple[list[Any], Reply]]:
    """Each reply, and the messages before it."""
    talk = live.talk
    assert talk is not None
    places = [place for place, message in enumerate(talk.messages) if message.role == "assistant"]
    own = places[len(places) - len(talk.turns) :] if talk.turns else []
    for place, turn in zip(own, talk.turns, strict=True):
        said = talk.messages[place]
        reply = Reply(
            text=said.content,
            calls=said.calls,
            tokens_in=len(talk.prompt) + turn.start,
            tokens_out=turn.end - turn.start,
            stop=turn.stop,
            model=talk.name,
            seconds=turn.model_s,
        )
        yield talk.messages[:place], reply


def _steps(live: Live) -> Iterator[Step]:
    """The steps that were taken."""
    for n, taken in enumerate(live.taken, 1):
        info = taken.outcome.info
        yield Step(
            n=n,
            action=taken.action,
            observation=Observation.model_validate(info["observation"]),
            reward=taken.outcome.reward,
            command_s=taken.command_s,
            grader_s=taken.grader_s,
            model_s=taken.model_s,
            attempt=info["attempt"]["n"] if "attempt" in info else None,
            calls=taken.calls,
        )


def _result(live: Live, store: Episode) -> Result:
    """What the rollout came to, its attempts stored first."""
    session, made = live.session, live.trajectory
    assert session is not None and made is not None and live.talk is not None
    research, steps = getattr(session, "research", None), store.steps()
    notes, attempts = [], _told(live)
    if research is not None:
        kept = Kept(store, research)
        kept.add_new()
        try:
            notes = kept.score_all()
        except GradingError as error:
            notes = [str(error)]
        attempts = list(kept.by_n.values())
    for attempt in attempts if research is None else ():
        store.add_attempt(attempt)
    turns = live.talk.turns
    return outcome.result(
        attempts,
        load_task(live.row.task),
        progress=lambda _: session.progress,
        ended=made.ended,
        boundary=str(live.taken[-1].outcome.info.get("boundary") or "") if live.taken else "",
        why=made.why,
        steps=sum(step.action.tool != END for step in steps),
        cost=Cost(
            tokens_in=sum(len(live.talk.prompt) + turn.start for turn in turns),
            tokens_out=sum(turn.end - turn.start for turn in turns),
            calls=len(turns),
            command_s=sum(step.command_s for step in steps),
            model_s=sum(turn.model_s for turn in turns),
            grader_s=sum(step.grader_s for step in steps),
            cpu_s=research.cpu_s if research else 0.0,
        ),
        hits=dict(Counter(step.observation.hit for step in steps if step.observation.hit)),
        feedback=session.brief.feedback,
        notes=(f"A rollout of group '{live.row.group}', seed {live.row.seed}.", *notes),
        **_place(session, research),
    )


def _told(live: Live) -> list[Attempt]:
    """The attempts as the environment told of them, without their files."""
    by_n = {}
    for taken in live.taken:
        for each in filter(None, (taken.outcome.info.get("attempt"), taken.outcome.info.get("final"))):
            by_n[each["n"]] = Attempt.model_validate(each)
    return list(by_n.values())


def _place(session: Session, research: Any) -> dict[str, Any]:
    """Where the episode ran, and the baseline that it is measured by."""
    brief = session.brief
    if research is None:
        return {"isolation": brief.machine["isolation"], "baseline": {brief.feedback: brief.baseline["scores"]}}
    return {
        "isolation": research.backend.isolation,
        "backend": research.backend.name,
        "baseline": {split: research.baseline(split) for split in SPLITS},
        "data": research.prepared.data if research.prepared else "",
        "python": research.prepared.python if research.prepared else "",
    }
