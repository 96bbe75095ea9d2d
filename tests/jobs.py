"""Jobs for the tests of launchers: no sandbox, but they can be sent anywhere."""

import os
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path

from mlgym.beside import cancelled
from mlgym.errors import UsageError
from mlgym.records import EpisodeSpec, Failure, Outcome, Result
from mlgym.store import episode_folder


def spec(seed: int, agent: str = "nop", task: str = "blotto") -> EpisodeSpec:
    return EpisodeSpec(task=task, agent=agent, seed=seed)


@dataclass(frozen=True)
class Writes:
    """Says in the result where it ran; the name of the agent says what else it does.

    `sleep` waits, once the file `asleep` is there, `obey` until the run is cancelled; `die` kills its own process,
    `dieN` the first N times; `wrong` raises.
    """

    run: Path
    gpus: str = ""

    def at(self, run: Path) -> "Writes":
        return replace(self, run=run)

    def __call__(self, spec: EpisodeSpec) -> Outcome:
        folder = episode_folder(self.run, spec)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "spec.json").write_text(spec.model_dump_json())
        with (folder / "steps.jsonl").open("a") as file:
            file.write(f"{os.getpid()}\n")
        tries = len((folder / "steps.jsonl").read_text().split())
        if spec.agent.startswith("die") and tries <= int(spec.agent[3:] or 99):
            os.kill(os.getpid(), signal.SIGKILL)
        if spec.agent == "wrong":
            raise UsageError("Nothing like that is here.")
        if spec.agent == "sleep":
            try:
                (folder / "asleep").touch()
                time.sleep(60)
            finally:
                (folder / "tidied").touch()
        while spec.agent == "obey":
            if cancelled(self.run):
                return Failure(boundary="stopped", why=str(self.run))
            time.sleep(0.05)
        (folder / "attempts").mkdir(exist_ok=True)
        result = Result(ended="submitted", why=str(os.getpid()), steps=tries, source=str(self.run), python=self.gpus)
        (folder / "result.json").write_text(result.model_dump_json())
        return result
