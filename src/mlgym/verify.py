"""`mlgym verify`: what a packed run says, computed again from what it holds; the first difference, if there is any.

From each step and attempt follows the result, from the results follow the tables, and from the files of an attempt its
scores, where its task can be graded here. The file is somebody else's: it is unpacked by our own reader, and of it only
submissions are run, in sandboxes, and only by tasks that ship with mlgym.
"""

import gzip
import json
import math
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from mlgym import outcome
from mlgym.audit import records
from mlgym.audit.seen import Seen, read
from mlgym.cache import SAY, Say
from mlgym.errors import MlgymError, UsageError
from mlgym.importers import by_our_name
from mlgym.metrics import progress
from mlgym.pack import MANIFEST, TABLES, digest
from mlgym.records import Result, Scores
from mlgym.regrade import regrade
from mlgym.sandbox.tar import SubmissionRefused, read_tar
from mlgym.store import Episode, episodes
from mlgym.task import Task, load_task
from mlgym.totals import totals

BYTES, FILES, DEPTH = 20_000_000_000, 5_000_000, 8
REST = 64  # megabytes after the last file
RECORD_BYTES = 500_000_000  # of one record: it is read whole
CLOSE = 1e-9  # relative: tables are of sums that another machine may round otherwise
# What records that somebody has broken may raise.
BROKEN = (MlgymError, ValueError, OSError, LookupError, ArithmeticError, RecursionError, TypeError, AttributeError)
NAMES = ("metric", "final", "selected", "best", "progress")


@dataclass
class Verified:
    """What was computed again, in numbers; `difference` is the first one found, empty for none."""

    difference: str = ""
    episodes: int = 0
    attempts: int = 0
    results: int = 0
    regraded: int = 0
    not_regraded: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def verify(file: Path, *, grade: bool = True, backend: str = "auto", say: Say = SAY) -> Verified:
    """Compute again what can be, up to the first difference. Raises UsageError for what is no packed run.

    `grade` also grades the files of attempts again, which may prepare data and environments of their tasks.
    """
    done = Verified()
    with tempfile.TemporaryDirectory(prefix="mlgym-verify-") as scratch:
        place = Path(scratch) / "run"
        try:
            _unpack(file, place)
        except (SubmissionRefused, OSError, EOFError, zlib.error) as error:
            if not file.is_file():
                raise UsageError(f"{file} is no file; give one that mlgym pack has made.") from error
            done.difference = f"{file} is damaged, or no packed run: {error}"
            return done
        done.difference = next(_differences(place, done, grade, backend, say), "")
    return done


def _unpack(file: Path, place: Path) -> None:
    with gzip.open(file) as unzipped:
        read_tar(cast(IO[bytes], unzipped), place, BYTES, FILES, DEPTH)
        for _ in range(REST):
            if not unzipped.read(1 << 20):  # its checksum stands at the end
                return
    raise SubmissionRefused(f"more than {REST} MB follow its last file")


def _differences(place: Path, done: Verified, grade: bool, backend: str, say: Say) -> Iterator[str]:
    for path in place.rglob("*"):
        if path.is_file() and path.parent.name != "files" and path.stat().st_size > RECORD_BYTES:
            yield f"{path.relative_to(place)} is too large to be read"
    manifest = _json(place / MANIFEST)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        yield f"there is no {MANIFEST} that can be read"
        return
    found = list(episodes(place))
    entries = _entries(_json(place / "protocol.lock"))
    for folder in found:
        yield from _of_episode(folder, str(folder.relative_to(place)), done, entries)
    if len(found) != manifest.get("episodes"):
        yield f"{len(found)} episodes are there, {manifest.get('episodes')} were packed"
    yield from _tables(place)
    if grade:
        yield from _grades(place, found, done, backend, say)
    yield from _files(place, manifest["files"])


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def _entries(lock: Any) -> dict[str, Any]:
    """What the protocol says of each task."""
    for key in ("task_protocol", "tasks"):
        lock = lock.get(key) if isinstance(lock, dict) else None
    return {name: entry for name, entry in lock.items() if isinstance(entry, dict)} if isinstance(lock, dict) else {}


def _of_episode(folder: Path, name: str, done: Verified, entries: dict[str, Any]) -> Iterator[str]:
    """Steps, attempts, files and result of an episode held against each other."""
    try:
        seen = read(folder)
        done.episodes += 1
        done.attempts += len(seen.attempts)
        for why in (*records.steps(seen), *_stored(seen), *records.result(seen), *_again(seen, done, entries)):
            yield f"{name}: {why}"
    except BROKEN as error:
        yield f"{name}: {_said(error)}"


def _said(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:300]


def _stored(seen: Seen) -> Iterator[str]:
    for attempt in seen.attempts:
        for path, wanted in sorted({**attempt.code, **attempt.files}.items()):
            if seen.store.intact(wanted) is False:
                yield f"attempt {attempt.n}: the stored {path} is not what was graded (its hash is another)"
    for changes in seen.store.changes():
        for path, wanted in sorted(changes.files.items()):
            if wanted and seen.store.intact(wanted) is False:
                yield f"step {changes.n}: the stored {path} is not what it made of it (its hash is another)"


def _again(seen: Seen, done: Verified, entries: dict[str, Any]) -> Iterator[str]:
    """The result of an episode computed from its attempts by what the protocol says of its task, or is known of it."""
    stored = seen.result
    if stored is None:
        return
    theirs = by_our_name(seen.spec.task) if seen.spec.imported else None
    entry = entries.get(seen.spec.task) or {}
    if seen.task is None and theirs is None and not {"metric", "direction"} <= set(entry):
        done.notes.append(f"{seen.spec.task} seed {seen.spec.seed}: {seen.elsewhere}; its result was not made again")
        return
    done.results += 1
    if seen.task is not None:  # `records.result` has looked at it
        return
    scale = theirs.progress if theirs else _scale(entry, stored)
    task = theirs.task if theirs else Task.model_construct(metric=entry["metric"], direction=entry["direction"])
    scored = stored.scored and stored.progress is not None
    again = outcome.result(seen.attempts, task, progress=scale if scored else lambda _: None, ended=stored.ended)
    for name in NAMES:
        recorded, follows = getattr(stored, name), getattr(again, name)
        if recorded != follows:
            yield f"its {name} is {recorded}, from its attempts follows {follows}"
    if theirs and stored.baseline.get("test") != theirs.start:
        yield f"its baseline is {stored.baseline.get('test')}, the published one is {theirs.start}"


def _scale(entry: dict[str, Any], stored: Result) -> Callable[[Scores | None], float | None]:
    """Progress by the anchors of a task that is not here."""
    base = (stored.baseline.get("test") or {}).get(entry["metric"], math.nan)
    best, scale = entry.get("best"), entry.get("scale") or "identity"

    def scaled(scores: Scores | None) -> float | None:
        score = None if scores is None else scores.get(entry["metric"])
        direction = entry["direction"]
        return progress(score, baseline=base, baseline_test=base, best=best, direction=direction, scale=scale)

    return scaled


def _tables(place: Path) -> Iterator[str]:
    kept = _json(place / TABLES)
    if kept is None:
        yield f"there is no {TABLES} that can be read"
        return
    try:
        yield from _unlike(kept, totals(place), TABLES)
    except BROKEN as error:
        yield f"{TABLES} cannot be made again: {_said(error)}"


def _unlike(kept: Any, again: Any, where: str) -> Iterator[str]:
    """Where two JSON values differ, numbers by more than rounding."""
    if isinstance(kept, dict) and isinstance(again, dict) and kept.keys() == again.keys():
        for name in kept:
            yield from _unlike(kept[name], again[name], f"{where}, {name}")
    elif isinstance(kept, list) and isinstance(again, list) and len(kept) == len(again):
        for place, (one, other) in enumerate(zip(kept, again, strict=True)):
            about = [one[key] for key in ("task", "method", "seed") if key in one] if isinstance(one, dict) else [place]
            yield from _unlike(one, other, f"{where} ({' '.join(map(str, about))})")
    elif isinstance(kept, float | int) and isinstance(again, float | int):
        if not math.isclose(kept, again, rel_tol=CLOSE, abs_tol=CLOSE):
            yield f"{where} is {kept:.10g}, and comes to {again:.10g}"
    elif kept != again:
        yield f"{where} is {str(kept)[:80]!a}, and comes to {str(again)[:80]!a}"


def _grades(place: Path, found: list[Path], done: Verified, backend: str, say: Say) -> Iterator[str]:
    """The attempts whose files are there graded again, by tasks that ship with mlgym and in their own environment."""
    chosen = place.with_name("graded")
    for folder in found:
        spec = Episode.read(folder).spec
        if why := _not_here(spec.task, spec.python, spec.imported, folder):
            done.not_regraded[why] = done.not_regraded.get(why, 0) + 1
            continue
        link = chosen / folder.relative_to(place)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(folder)
    for row in regrade(chosen, backend, say) if chosen.exists() else ():
        if row.status == "differs":
            at = f"{row.episode}: attempt {row.attempt} has {row.recorded} on {row.split}"
            yield f"{at}, graded again {row.again}" + f" ({row.why})" * bool(row.why)
        elif row.status in ("equal", "within noise"):
            done.regraded += 1
        else:
            other = row.again is not None and row.again != row.recorded
            why = row.why + "; graded now it has another score" * other
            done.not_regraded[why] = done.not_regraded.get(why, 0) + 1


def _not_here(task: str, python: str, imported: str, folder: Path) -> str:
    """Why an episode is not graded again, empty where it is."""
    if imported:
        return "imported without files"
    if python:
        return "made with an environment of its user's"
    if not any((folder / "attempts" / "files").glob("*")):
        return "its files are not there"
    try:
        known = "/" not in task and load_task(task, recorded=True).shipped
    except MlgymError:
        known = False
    return "" if known else "its task does not ship with mlgym"


def _files(place: Path, packed: dict[str, Any]) -> Iterator[str]:
    """Files that are not those that were packed."""
    there = {str(path.relative_to(place)): path for path in place.rglob("*") if path.is_file()}
    for name in sorted({*packed, *there} - {MANIFEST}):
        if name not in there:
            yield f"{name} was packed and is not there"
        elif name not in packed:
            yield f"{name} is there and was not packed"
        elif digest(there[name]) != packed[name]:
            yield f"{name} is not what was packed (its hash is another)"
