"""The grading of one submission in a container of its own, without mlgym. Standard library only: it is copied there.

`python -m mlgym.grading.bundled TESTS REWARD`, as root, in a container that ends with it: TESTS is the folder that
`adapters.harbor` wrote, which only root may read, REWARD the JSON file to write. The grader runs as root, the
submission's code as another user, who has nothing but its files; all processes of that user end before the reward is
written. Exits with 1, and writes no reward, where the grading itself fails: that says nothing of the submission.
"""

import contextlib
import ctypes
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mlgym.errors import GradingError
from mlgym.grading.cpu import tree_s
from mlgym.grading.exchange import START_S, Exchange
from mlgym.grading.frames import FrameError
from mlgym.grading.pipes import Pipes, source
from mlgym.metrics.progress import clip, progress

PLAYER = 61789  # the number of a user that nothing else runs as
SHARED = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))
SCORELESS = -1.0  # the progress of no valid score


class Refused(Exception):
    """The submission's fault, said in one sentence."""


class Process(Pipes):
    """A main of this package as a process: a player runs as the user PLAYER, in the folder `place`."""

    def __init__(self, main: str, arguments: Sequence[str], memory_mb: int, place: str = "") -> None:
        self.memory_mb = memory_mb
        other: dict[str, Any] = {"user": PLAYER, "group": PLAYER, "extra_groups": [], "preexec_fn": _confined}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-s", "-B", "-c", source(main), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], "HOME": place or "/root", "PYTHONHASHSEED": "0"},
            cwd=place or "/",
            start_new_session=True,
            **(other if place else {}),
        )
        if place:  # the first to go where memory runs out
            Path(f"/proc/{self._process.pid}/oom_score_adj").write_text("1000")
        assert self._process.stdin and self._process.stdout
        super().__init__(self._process.stdin.fileno(), self._process.stdout.fileno())

    def hit(self) -> str:
        """Which bound was hit: a container does not tell."""
        return ""

    def cpu_s(self) -> float:
        """Processor seconds of the process and what it started."""
        return tree_s(self._process.pid)

    def close(self) -> str:
        """Stop it; says how it had ended, if it had."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2 if self.gone() else 0)
        code = self._process.poll()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        return "" if code is None else f"with code {code}" if code >= 0 else f"by signal {-code}"


def _confined() -> None:
    """Before the player's program starts: no new rights, no core files."""
    ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def frozen(workspace: Path, task: dict[str, Any], into: Path) -> None:
    """A copy of the submission's files, which all may read and nobody write; raises Refused."""
    found: dict[Path, None] = {}
    for name in task["submission"]["paths"]:
        here = dict.fromkeys(each for path in sorted(workspace.glob(name)) for each in _files(workspace, path))
        if not here:
            raise Refused(f"The submission has no file {name}.")
        found |= here
    if len(found) > task["submission"]["max_files"]:
        raise Refused(f"The submission has more than {task['submission']['max_files']} files.")
    if sum(path.lstat().st_size for path in found) > task["submission"]["max_mb"] * 1_000_000:
        raise Refused(f"The submission has more than {task['submission']['max_mb']:g} MB.")
    for path in found:
        target = into / path.relative_to(workspace)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target, follow_symlinks=False)
        target.chmod(0o444)
    for folder in (into, *(path for path in into.rglob("*") if path.is_dir())):
        folder.chmod(0o755)


def _files(workspace: Path, path: Path) -> Iterator[Path]:
    """The regular files of a path; a link, which could lead to the answers, is none, nor is what lies behind one."""
    below = (each for each in (path, *path.parents) if each.is_relative_to(workspace))
    if any(each.is_symlink() for each in below):
        return
    if path.is_file():
        yield path
    elif path.is_dir():
        for name in sorted(path.iterdir()):
            yield from _files(workspace, name)


def graded(tests: Path, workspace: Path, place: Path) -> dict[str, float]:
    """The scores of the submission on the test split; raises Refused, or GradingError."""
    task = json.loads((tests / "task.json").read_text(encoding="utf-8"))
    submissions, memory_mb = place / "submissions", task["memory_mb"]
    frozen(workspace, task, submissions / "1")
    hidden = [str(tests / name) for name in ("task.py", "kinds", "private")]
    grader = Process("grader_main.py", [*hidden, str(submissions)], memory_mb)

    def player(_: bool) -> Process:
        emptied()  # what one leaves reaches no later one
        folder = tempfile.mkdtemp(dir=place, prefix="player-")
        os.chown(folder, PLAYER, PLAYER)
        return Process("player_main.py", [str(submissions / "1")], memory_mb, folder)

    exchange = Exchange(player, task["grade_s"], task["call_s"])
    request = {"op": "grade", "name": "1", "settings": task["settings"], "split": "test", "seed": task["seed"]}
    try:
        ready, _ = grader.receive(0, time.monotonic() + START_S)
        answer = ready if ready["op"] != "ready" else exchange.run(grader, request)
    except TimeoutError:
        raise Refused(f"Grading this submission took longer than {task['grade_s']:g} seconds.") from None
    except (EOFError, FrameError) as error:
        raise GradingError("The grader ended without a verdict.") from error
    finally:
        exchange.close()
        grader.close()
    if answer["op"] != "verdict":
        raise GradingError(f"The grader failed: {answer.get('why')}.")
    if not answer["valid"]:
        raise Refused(answer["why"])
    scores: dict[str, float] = answer["scores"]
    if task["metric"] not in scores:
        raise GradingError(f"The grader gave no {task['metric']}.")
    return {"reward": clip(progress(scores[task["metric"]], **task["scale"]) or 0.0, -1.0, 2.0), "valid": 1, **scores}


def emptied() -> None:
    """End every process of the player's user, and take away what it wrote where all may write."""
    for _ in range(100):
        child = os.fork()
        if not child:
            os.setgroups([])
            os.setgid(PLAYER)
            os.setuid(PLAYER)
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
            os._exit(0)
        os.waitpid(child, 0)
        if not any(map(_plays, Path("/proc").glob("[0-9]*"))):
            break
    else:
        raise GradingError("Processes of the submission do not end.")
    for left in (path for folder in SHARED if folder.is_dir() for path in folder.iterdir()):
        if left.lstat().st_uid == PLAYER:
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()


def _plays(process: Path) -> bool:
    """Whether a process in /proc is of the player's user, and no mere entry that nobody has waited for."""
    try:
        return process.stat().st_uid == PLAYER and ") Z " not in (process / "stat").read_text(errors="replace")
    except OSError:
        return False


def main() -> None:
    """Grade, and write the reward last."""
    tests, reward = map(Path, sys.argv[1:3])
    if os.geteuid():
        sys.exit("The grading needs root: the submission's code must be another user.")
    tests.chmod(0o700)
    reward.parent.chmod(0o755)
    os.umask(0o022)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        about = json.loads((tests / "task.json").read_text(encoding="utf-8"))
        try:
            said = graded(tests, Path(about["workspace"]), Path(folder))
        except Refused as error:
            print(error)
            said = {"reward": SCORELESS, "valid": 0}
        except GradingError as error:
            sys.exit(str(error))
        finally:
            emptied()
    for name in (reward, reward.with_suffix(".txt")):
        name.unlink(missing_ok=True)
    reward.write_text(json.dumps(said), encoding="utf-8")
    print(said)


if __name__ == "__main__":
    main()
