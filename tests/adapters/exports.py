"""Exports for consumers to load: small ones made here, or those in a folder, one in it for each format."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FORMATS = ("chat", "sharegpt", "atif", "preferences", "kto", "steps", "prompts", "trajectories")


@contextmanager
def exports() -> Iterator[Path]:
    """The folder named on the command line, or one that is made."""
    if len(sys.argv) > 1:
        yield Path(sys.argv[1])
        return
    with tempfile.TemporaryDirectory() as folder:
        made(Path(folder))
        yield Path(folder)


def made(folder: Path) -> None:
    """Episodes of three agents without a model on four tasks, and a trajectory, in each format."""
    from mlgym.cli.exporting import run as export
    from mlgym.generate import Bulk, Way, generate
    from mlgym.grid import from_flags
    from mlgym.launchers import threads
    from mlgym.records import Message
    from mlgym.trajectory import Trajectory, Turn

    agents = [{"agent": name} for name in ("tuner?trials=3", "random?trials=3", "tree?nodes=5")]
    bulk = Bulk(from_flags({"tasks": ["duel-s0..3-d0.4"], "agents": agents, "seeds": 2}))
    assert generate(bulk, folder / "run", Way(lambda: threads(2)))[1] == 0
    messages = (Message(role="user", content="Begin."), Message(role="assistant", content="submit"))
    turns = (Turn(start=0, end=2, step=1),)
    one = Trajectory(task="duel-s0-d0.4", prompt=(1, 2), ids=(3, 4), mask=(1, 1), logprobs=(-0.5, -0.25), turns=turns)
    one = one.changed(messages=messages, reward=0.5, progress=0.5, status="submitted", ended="submitted")
    (folder / "trajectories.jsonl").write_text(one.model_dump_json() + "\n")
    for kind in ("jsonl", "parquet"):
        for name in FORMATS:
            sources = [folder / "trajectories.jsonl"] if name == "trajectories" else [folder / "run"]
            asked = {"format": name, "to": kind, "validation": 0.4}
            export(sources, folder / f"{name}-{kind}", asked, print)
    export([folder / "trajectories.jsonl"], folder / "atif-tokens", {"format": "atif"}, print)
