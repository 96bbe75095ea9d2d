"""A task's data, made once into the cache by its hidden `prepare`, which runs in the grader's environment.

`public/` stands read-only at `data/` in the workspace; `private/` holds the answers.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from mlgym.cache import SAY, Say, cache_dir, made
from mlgym.environments import environment
from mlgym.errors import SourceError, TaskError
from mlgym.pip import UMASK
from mlgym.sources import fetch
from mlgym.task import Task

KINDS = Path(__file__).parent / "kinds"
GENERATED = "generated"
# Sent in with -c: it loads `kinds` and the hidden module by path, so that nothing else becomes importable, and on Linux
# asks to be killed when this process dies.
SCRIPT = """
import ctypes, importlib.util, json, pathlib, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)
def load(name, path, **more):
    spec = importlib.util.spec_from_file_location(name, path, **more)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
about = json.load(sys.stdin)
load("kinds", about["kinds"] + "/__init__.py", submodule_search_locations=[about["kinds"]])
public, private = pathlib.Path(about["public"]), pathlib.Path(about["private"])
load("task", about["code"]).prepare(public, private, settings=about["settings"], seed=about["seed"])
"""


@dataclass(frozen=True)
class Prepared:
    """A task ready to run: its data folders and environments; `data` is empty, or `generated` for made-up data."""

    task: Task
    public: Path
    private: Path
    env: Path
    grader_env: Path
    data: str


def prepare(task: Task, *, say: Say = SAY) -> Prepared:
    """Make what the task needs, or find it in the cache; `say` gets a line for what takes long or is amiss.

    Raises SourceError when an environment cannot be had and TaskError when the task's own `prepare` fails. Data that
    cannot be had is no error: the task is then made from generated data, and says so.
    """
    env = environment(task.packages, say=say)
    grader_env = environment(task.grader_packages, say=say)
    sources: dict[str, str | None] = {}
    for source in task.sources:
        try:
            sources[source.name] = str(fetch(source, say=say))
        except SourceError as error:
            sources[source.name] = None
            say(f"{task.name} is made from generated data, and its results are marked so: {error}")
    data = GENERATED if None in sources.values() else ""
    slug = re.sub(r"[^A-Za-z0-9_-]+", "-", task.name)
    folder = cache_dir() / "prepared" / f"{slug}-{_key(task, sources)}"
    made(folder, lambda part: _fill(part, task, sources, grader_env), what=f"the data of {task.name}", say=say)
    return Prepared(task, folder / "public", folder / "private", env, grader_env, data)


def _key(task: Task, sources: dict[str, str | None]) -> str:
    """Everything that decides the data."""
    had = sorted([source.sha256, sources[source.name] is not None] for source in task.sources)
    about = [task.name, task.version, task.settings, had, task.grader_packages]
    text = json.dumps(about, sort_keys=True, default=str).encode()
    kinds = b"".join(path.read_bytes() for path in sorted(KINDS.glob("*.py")))
    return hashlib.sha256(text + task.code.read_bytes() + kinds).hexdigest()[:16]


def _fill(folder: Path, task: Task, sources: dict[str, str | None], grader_env: Path) -> None:
    public, private = folder / "public", folder / "private"
    public.mkdir()
    private.mkdir()
    about = {
        "kinds": str(KINDS),
        "code": str(task.code),
        "public": str(public),
        "private": str(private),
        "settings": {**task.settings, "sources": sources},
        "seed": task.settings.get("seed", 0),
    }
    python = grader_env / ("bin" if os.name == "posix" else "Scripts") / "python"
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR", "SYSTEMROOT") if key in os.environ}
    ran = subprocess.run(
        [str(python), "-I", "-B", "-c", SCRIPT],
        input=json.dumps(about),
        capture_output=True,
        text=True,
        errors="replace",
        env=kept,
        umask=UMASK,
    )
    if ran.returncode:
        raise TaskError(f"{task.code}: prepare() failed: {_last(ran.stderr, task.code)}.")
    _tidy(folder)
    if any(public.iterdir()) and (task.workspace / "data").exists():
        raise TaskError(
            f"{task.folder}: workspace/ may have no `data`: there the public files of prepare() will stand."
        )


def _tidy(folder: Path) -> None:
    """Only folders and plain files, readable by the sandbox's user (the cache folder above them is private)."""
    for at, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(at, name)
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise TaskError(f"prepare() made {path.relative_to(folder)}, which is no plain file or folder.")
            path.chmod(0o755 if path.is_dir() else 0o644)
    for cache in folder.glob("**/__pycache__"):
        shutil.rmtree(cache)


def _last(stderr: str, code: Path) -> str:
    """The traceback's last line, with the line of the task's code that it came from."""
    lines = stderr.strip().splitlines() or ["it ended without a word"]
    at = re.findall(rf'File "{re.escape(str(code))}", line (\d+)', stderr)
    return lines[-1].rstrip(".") + (f" (line {at[-1]})" if at else "")
