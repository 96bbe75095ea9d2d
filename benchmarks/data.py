"""Episodes in bulk on made tasks, exported in every format, each loaded by its consumer: bytes and seconds.

    .venv/bin/python -m benchmarks.data [--episodes 200] [--at-once 2] [-o FOLDER] [--write]

`tuner`, `random` and `tree` on tasks of FAMILIES; the trajectories are those of a scripted policy. The consumers are
those of `tests/adapters/run.py`, in environments of their own that are made when they are first needed (`--alone`
leaves them out). The same command goes on with the episodes that are there; the exports are made anew.
"""

import argparse
import json
import resource
import shutil
import subprocess
import time
from pathlib import Path

from benchmarks.record import ROOT, record
from mlgym.allocator import Allocator
from mlgym.cli.exporting import run as export
from mlgym.exporters import FORMATS
from mlgym.generate import Bulk, Way, compact, generate
from mlgym.grid import from_flags
from mlgym.launchers import threads
from mlgym.rl import Engine, Row, ScriptedPolicy
from mlgym.sandbox import choose
from tests.adapters import run as adapters

FAMILIES = ("duel", "maze", "games")
AGENTS = ("tuner?trials=8", "random?trials=8", "tree?nodes=8")
ROLLOUTS = 8
CONSUMERS = {"exports": "datasets, TRL", "ATIF": "Harbor"}


def size(folder: Path) -> tuple[int, int]:
    """Files and bytes on the disk below a folder."""
    files = [path.stat() for path in folder.rglob("*") if path.is_file()]
    return len(files), sum(about.st_blocks * 512 for about in files)


def made(out: Path, episodes: int, at_once: int) -> tuple[str, float]:
    """Make the episodes; how far that came in a line, and its seconds."""
    tasks = -(-episodes // (len(AGENTS) * len(FAMILIES)))
    flags = {"tasks": [f"{name}-s0..{tasks - 1}-d0.3" for name in FAMILIES], "agents": [{"agent": a} for a in AGENTS]}
    began = time.monotonic()
    way = Way(lambda: threads(at_once), Allocator(), at_once, say=lambda line: print(line, flush=True))
    done, code = generate(Bulk(from_flags(flags), cells=50), out / "run", way)
    assert code == 0, done.lost or done.stopped
    return done.line, time.monotonic() - began


def rolled(out: Path) -> Path:
    """The trajectories of a scripted policy, as the engine makes them."""
    path = out / "trajectories.jsonl"
    engine = Engine(ScriptedPolicy(["ls", "python write.py", "validate", "submit"], logprob=-1.0), protocol="plain")
    rows = [Row(f"duel-s{number}-d0.3", group=f"duel-s{number}") for number in range(ROLLOUTS)]
    path.write_text("".join(each.model_dump_json() + "\n" for each in engine.rollout(rows)))
    return path


def exported(out: Path) -> list[tuple[str, ...]]:
    """Export everything anew; a row for each format and kind."""
    table = []
    for name in FORMATS:
        source = rolled(out) if name == "trajectories" else out / "run"
        for kind in ("jsonl", "parquet"):
            target = out / "exports" / f"{name}-{kind}"
            shutil.rmtree(target, ignore_errors=True)
            began = time.monotonic()
            done = export([source], target, {"format": name, "to": kind, "validation": 0.2}, print)
            seconds = time.monotonic() - began
            left = sum(done.left_out.values())
            rows = sum(done.rows.values())
            table.append(
                (f"{name}, {kind}", f"{rows} rows", f"{done.bytes / 1e6:.2f} MB", f"{seconds:.1f}", f"{left} left out")
            )
    return table


def loaded(name: str, out: Path) -> tuple[str, ...]:
    """A consumer on all exports; a row, its last line in it."""
    tried = next(each for each in adapters.ALL if each.name == name)
    inside = adapters.environment(tried, adapters.python(tried.pythons))
    began = time.monotonic()
    program = [str(inside), str(ROOT / "tests" / "adapters" / tried.program), str(out / "exports")]
    said = subprocess.run(program, capture_output=True, text=True)
    line = (said.stdout if said.returncode == 0 else said.stderr).strip().splitlines()[-1]
    return (
        CONSUMERS[name],
        "loads all" if said.returncode == 0 else "FAILED",
        "",
        f"{time.monotonic() - began:.1f}",
        line,
    )


def main() -> None:
    """Make, export, load, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "runs" / "data")
    parser.add_argument("--alone", action="store_true", help="without the consumers")
    parser.add_argument("--write", action="store_true", help="record the table in benchmarks/data.md")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    line, seconds = made(args.out, args.episodes, args.at_once)
    count = sum(1 for _ in args.out.glob("run/*/*/*/*/result.json"))
    steps = sum(json.loads(p.read_bytes())["steps"] for p in args.out.glob("run/*/*/*/*/result.json"))
    files, size_ = size(args.out / "run")
    table = [(
        "episodes", f"{count} of {steps} steps", f"{size_ / 1e6:.2f} MB", f"{seconds:.0f}",
        f"{files / count:.1f} files, {size_ / count / 1e3:.0f} KB each; {line}",
    )]  # fmt: skip
    shutil.rmtree(args.out / "small", ignore_errors=True)
    shutil.copytree(args.out / "run", args.out / "small")
    for path in args.out.glob("small/*/*/*/*/result.json"):
        compact(path.parent)
    files, size_ = size(args.out / "small")
    table.append(
        (
            "with --compact",
            "",
            f"{size_ / 1e6:.2f} MB",
            "",
            f"{files / count:.1f} files, {size_ / count / 1e3:.0f} KB each",
        )
    )
    table += exported(args.out)
    if not args.alone:
        table += [loaded(name, args.out) for name in CONSUMERS]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    notes = f"At most {memory:.0f} MB of memory in the process that made and exported them, {args.at_once} at once."
    head = ("what", "how many", "bytes", "seconds", "and")
    record("data", head, table, args.write, choose("auto").name, notes)
    print(notes)


if __name__ == "__main__":
    main()
