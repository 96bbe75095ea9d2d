"""A task's data, made once into the cache by its hidden `prepare`, which runs in the grader's environment.

`public/` stands read-only at `data/` in the workspace; `private/` holds the answers.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import time
import uuid
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mlgym.cache import MARKER, SAY, Say, cache_dir, made, tidy
from mlgym.environments import environment, place
from mlgym.errors import SourceError, TaskError, UsageError
from mlgym.grading.kinds import skills
from mlgym.own_python import SYSTEM, OwnPython, own_python
from mlgym.pip import UMASK
from mlgym.records import Split
from mlgym.sandbox import Bind, Sandbox, SandboxSpec, open_shell, scratch
from mlgym.sources import fetch
from mlgym.task import Task, load_task

KINDS = Path(__file__).parent / "kinds"
GENERATED, UNCHECKED = "generated", "unchecked"
LABEL = "label"
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
if "changes" in about["settings"]:
    load("kinds.thinned", about["kinds"] + "/thinned.py").apply(public, **about["settings"]["changes"])
"""


KEPT, UNUSED_S = 2000, 86_400  # the data of so many made tasks are kept, or longer what was used since then
LARGE_MB = 500  # of a task's sources together: more is fetched only when asked for


@dataclass(frozen=True)
class Prepared:
    """A task ready to run: its data folders and environments.

    `data` says what stands in for the task's own data: `generated` (made up), `unchecked` (files of the user's), or
    the task's own name for a stand-in; it is empty for the data that the task is named after. `python` says what an
    environment of the user's has, `shown` are the places that it takes beside its own folder.
    """

    task: Task
    public: Path
    private: Path
    env: Path
    grader_env: Path
    data: str
    python: str = ""
    shown: tuple[Bind, ...] = ()

    @cached_property
    def grader_version(self) -> str:
        """A hash of what grades: the hidden module, the shared graders that it uses, and their settings."""
        return grader_version(self.task)

    @cached_property
    def data_version(self) -> str:
        """A hash of the answers."""
        digest = hashlib.sha256()
        for path in sorted(path for path in self.private.rglob("*") if path.is_file()):
            name = path.relative_to(self.private).as_posix()
            digest.update(f"{name}\0{path.stat().st_size}\0".encode())
            with path.open("rb") as file:
                while part := file.read(1 << 20):
                    digest.update(part)
        return digest.hexdigest()[:16]

    @cached_property
    def floor(self) -> dict[Split, float]:
        """What the best constant answer scores on each split, where the data of a made task tell; else empty."""
        path = self.private / skills.SCALE
        if not self.task.made or not path.is_file():
            return {}
        marks: dict[Split, dict[str, float]] = json.loads(path.read_text())
        return {split: skills.skill(self.private, split, of["floor"]) for split, of in marks.items()}

    def used(self) -> None:
        """Mark the data as in use: those of made tasks are taken away in the end."""
        if self.task.made:
            with contextlib.suppress(OSError):
                os.utime(self.public.with_name(MARKER))


def prepare(task: Task, *, say: Say = SAY, own: Path | None = None, large: bool = False, python: str = "") -> Prepared:
    """Make what the task needs, or find it in the cache; `say` gets a line for what takes long or is amiss.

    `own` is a folder in which the sources' files may lie; `large` lets sources above LARGE_MB be fetched; `python` is
    an interpreter of the user's, whose environment the submission's code gets. Raises UsageError for one that does not
    fit, SourceError when an environment or the data cannot be had and TaskError when the task's own `prepare` fails. A
    task that has a stand-in is made from that where its data cannot be had, and says so.
    """
    mine = own_python(Path(python), task.packages, task.workspace) if python else None
    env = mine.prefix if mine else environment(task.packages, say=say)
    grader_env = environment(task.grader_packages, say=say)
    folder = _folder(task, stand_in=False)
    if (folder / MARKER).exists():
        tidy(folder)
    else:
        sources: dict[str, Path] | None = None
        try:
            sources = _sources(task, own, large, say)
        except SourceError as error:
            if not task.stand_in:
                raise SourceError(_missing(task, error)) from error
            folder = _folder(task, stand_in=True)
            say(f"{task.name} is made from generated data, and its results are marked so: {error}")
        made(folder, lambda part: _fill(part, task, sources, grader_env, say), what=f"the data of {task.name}", say=say)
        if task.made:
            _thin(folder.parent)
    return _found(task, folder, env, grader_env, mine)


def ready(task: Task, python: str = "") -> Prepared | None:
    """What `prepare` would find in the cache, without making anything; None where something must be made first.

    Raises UsageError for an interpreter of the user's that does not fit.
    """
    mine = own_python(Path(python), task.packages, task.workspace) if python else None
    env, grader_env = mine.prefix if mine else place(task.packages), place(task.grader_packages)
    folders = [_folder(task, stand_in=False), *([_folder(task, stand_in=True)] if task.stand_in else [])]
    folder = next((each for each in folders if (each / MARKER).exists()), None)
    if folder is None or not all((each / MARKER).exists() for each in (grader_env, *([] if mine else [env]))):
        return None
    return _found(task, folder, env, grader_env, mine)


def _found(task: Task, folder: Path, env: Path, grader_env: Path, mine: OwnPython | None) -> Prepared:
    label = (folder / LABEL).read_text()
    about, shown = (mine.about, _shown(mine)) if mine else ("", ())
    prepared = Prepared(task, folder / "public", folder / "private", env, grader_env, label, about, shown)
    prepared.used()
    return prepared


def grader_version(task: Task) -> str:
    """A hash of what makes the data and grades: the hidden module, the graders that it uses, and their settings."""
    settings = json.dumps(task.settings, sort_keys=True, default=str).encode()
    return hashlib.sha256(_code(task) + settings).hexdigest()[:16]


def remake(prepared: Prepared, folder: Path) -> None:
    """Make the data once more, into the new folder `folder`; raises what `prepare` raises."""
    task = prepared.task
    folder.mkdir()
    sources = None if prepared.data == GENERATED else _sources(task, None, True, SAY)
    _fill(folder, task, sources, prepared.grader_env, SAY)


def build_images(prepared: Prepared, backend: type[Sandbox]) -> None:
    """Open a sandbox with each of the task's environments once, which builds what is not there; raises SandboxError."""
    for env in {prepared.env, prepared.grader_env}:
        with scratch(cache_dir() / "scratch") as folder:
            (folder / "workspace").mkdir()
            with open_shell(backend, SandboxSpec(folder / "workspace", env)):
                pass


def _shown(mine: OwnPython) -> tuple[Bind, ...]:
    """A user's environment at its own place too, for its scripts, and its base Python without that one's packages."""
    empty = cache_dir() / "empty"
    empty.mkdir(mode=0o755, exist_ok=True)
    base = {str(mine.base): mine.base} if str(mine.base) not in SYSTEM else {}  # what is needed of that is shown anyway
    places = {**base, **{str(path): empty for path in mine.hidden}, str(mine.prefix): mine.prefix}
    return tuple(Bind(source, target) for target, source in places.items())


def _sources(task: Task, own: Path | None, large: bool, say: Say) -> dict[str, Path]:
    total = sum(source.mb or 0 for source in task.sources)
    if total > LARGE_MB and not large and not own:
        raise SourceError(f"It takes some {total:,.0f} MB.")
    return {source.name: fetch(source, own=own, say=say) for source in task.sources}


def _missing(task: Task, error: SourceError) -> str:
    """What is amiss, and each way to go on."""
    mini = f"{task.folder.name}-mini"
    try:
        instead = (
            "" if task.variant else f"; `mlgym run {load_task(task.folder.with_name(mini)).name}` needs none of it"
        )
    except UsageError:
        instead = ""
    name = task.name if task.shipped else task.reference
    return (
        f"The data of {task.name} is not here. {str(error).rstrip('.')}. Where there is a connection fetch it with "
        f"`mlgym prepare {name}`; a copy that you have is taken by `mlgym prepare {name} --data FOLDER`{instead}."
    )


def _folder(task: Task, *, stand_in: bool) -> Path:
    """The prepared data's folder, named by everything that decides the data."""
    sources = sorted(source.model_dump_json(exclude={"mb"}) for source in task.sources)
    about = [task.name, task.version, task.settings, sources, stand_in, task.grader_packages]
    text = json.dumps(about, sort_keys=True, default=str).encode()
    code = _code(task)
    # The agent can read this path in its table of mounts: of a made task it must not tell by what it was drawn.
    slug = re.sub(r"[^A-Za-z0-9_-]+", "-", task.made.family if task.made else task.name)
    return (
        cache_dir() / ("made" if task.made else "prepared") / f"{slug}-{hashlib.sha256(text + code).hexdigest()[:16]}"
    )


def _thin(place: Path) -> None:
    """Take away what has not been used for long where there are too many: made tasks have no end, and are made again.

    One is renamed first, so that it is never found in part.
    """
    folders = list(place.glob("*/"))
    if len(folders) <= KEPT:
        return
    marks = {folder: mark.stat().st_mtime for folder in folders if (mark := folder / MARKER).exists()}
    for folder in sorted(marks, key=lambda each: marks[each])[: len(folders) - KEPT]:
        if time.time() - marks[folder] > UNUSED_S:
            with contextlib.suppress(OSError):  # another process was first
                shutil.rmtree(folder.rename(folder.with_name(f"{folder.name}.part-{uuid.uuid4().hex}")))


def _code(task: Task) -> bytes:
    return task.code.read_bytes() + _kinds(task.code.read_text() + " thinned" * ("changes" in task.settings))


def _kinds(code: str) -> bytes:
    """The shared graders that the code names, and those that they name."""
    taken = {"__init__": (KINDS / "__init__.py").read_text()}
    left = [code, *taken.values()]
    while left:
        words = set(re.findall(r"\w+", left.pop()))
        for path in sorted(KINDS.glob("*.py")):
            if path.stem in words and path.stem not in taken:
                taken[path.stem] = path.read_text()
                left.append(taken[path.stem])
    return "".join(taken[name] for name in sorted(taken)).encode()


def _fill(folder: Path, task: Task, sources: dict[str, Path] | None, grader_env: Path, say: Say) -> None:
    public, private = folder / "public", folder / "private"
    public.mkdir()
    private.mkdir()
    paths = {source.name: str(sources[source.name]) if sources else None for source in task.sources}
    own = sources and any(cache_dir() not in path.parents for path in sources.values())
    label = GENERATED if sources is None else UNCHECKED if own else task.data
    (folder / LABEL).write_text(label)
    if sources:
        say(f"{task.name}: preparing its data, once.")
    about = {
        "kinds": str(KINDS),
        "code": str(task.code),
        "public": str(public),
        "private": str(private),
        "settings": {**task.settings, "sources": paths},
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
