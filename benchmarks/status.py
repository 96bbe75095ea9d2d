"""How long `mlgym status` takes on a run of 10,000 episodes, at first and when it is followed; and how long a command
takes to see what is done: python -m benchmarks.status [EPISODES]
"""

import sys
import tempfile
import time
from pathlib import Path

from mlgym.bench import run_grid
from mlgym.driver import plan
from mlgym.launchers import in_process
from mlgym.records import Attempt, Cost, EpisodeSpec, Result
from mlgym.status import Follow
from mlgym.store import episode_folder

TASKS = ("blotto", "battle-of-sexes", "prisoners-dilemma", "house-price")


def main() -> None:
    """Measure."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory(prefix="mlgym-status-") as place:
        run = Path(place)
        specs = [
            EpisodeSpec(task=TASKS[n % 4], agent=f"tuner?trials={n // 4 % 25 + 1}", seed=n // 100) for n in range(count)
        ]
        made(run, specs)
        follow, began = Follow(run), time.perf_counter()
        follow.look()
        now = follow.status()
        said("first look", began, now.done)
        began = time.perf_counter()
        follow.look()
        said("next look", began, follow.status().done)
        began = time.perf_counter()
        said("a command that finds all done", began, len(list(run_grid(specs, run, launcher=in_process))))


def made(run: Path, specs: list[EpisodeSpec]) -> None:
    """Ended episodes of ten attempts each."""
    scores = {"score": 0.5}
    tried = tuple(Attempt(n=n, step=n, kind="validate", valid=True, validation=scores, test=scores) for n in range(10))
    result = Result(ended="submitted", metric="score", attempts=tried, best=scores, cost=Cost(money=0.1, command_s=9.0))
    text = result.model_dump_json(indent=1)
    plan(
        run,
        {episode_folder(run, spec).relative_to(run).as_posix(): ("score", "maximize", spec.agent) for spec in specs},
    )
    for spec in specs:
        folder = episode_folder(run, spec)
        folder.mkdir(parents=True)
        (folder / "spec.json").write_text(spec.model_dump_json(indent=1))
        (folder / "result.json").write_text(text)


def said(what: str, began: float, episodes: int) -> None:
    """A line."""
    print(f"{what}: {time.perf_counter() - began:.2f} s for {episodes} episodes")


if __name__ == "__main__":
    main()
