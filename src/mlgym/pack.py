"""`mlgym pack`: a run in one file that can be published, scrubbed, with checksums and the tables that it comes to.

The file is a gzipped tar of the episodes' records and files, in order and without times, so that the same run gives the
same bytes. `MANIFEST.json`, the last member, has the sha256 of each, and what was replaced and left out.
"""

import gzip
import hashlib
import json
import os
import re
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

from mlgym.disk import copy_whole, guarded
from mlgym.errors import MlgymError, UsageError
from mlgym.records import (
    Action,
    Attempt,
    Changes,
    Cost,
    EpisodeSpec,
    Limits,
    Message,
    Observation,
    Provenance,
    Record,
    Reply,
    Result,
    Step,
    ToolCall,
)
from mlgym.scrub import Here, Scrubber, as_json
from mlgym.store import COMPACT, episodes
from mlgym.task import load_task
from mlgym.totals import totals

FORMAT = 1
MANIFEST, TABLES = "MANIFEST.json", "tables.json"
JSONS = "spec.json", "result.json"
LINES = "steps.jsonl", "changes.jsonl", "calls.jsonl", "network.jsonl"
OF_RUN = ("run.json", "protocol.lock", "regrade.json")
LARGEST = 500_000_000  # bytes of one file: larger ones are left out
RECORDS: tuple[type[Record], ...] = (
    Action, Attempt, Changes, Cost, EpisodeSpec, Limits, Message, Observation, Provenance, Reply, Result, Step,
    ToolCall,
)  # fmt: skip
LOOPBACK = ("localhost", "127.0.0.1", "::1", "")


@dataclass
class Packed:
    """What was packed: how often each kind of thing was replaced, the files left out with the reason, notes."""

    file: Path
    episodes: int = 0
    files: int = 0
    bytes: int = 0
    replaced: Counter[str] = field(default_factory=Counter)
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def words() -> set[str]:
    """The words of the records themselves: names of fields, and the few values that some of them may have."""
    known = {"original", "imported", "end", "bash", "seed", "run", "task", "tasks", "methods", "method", "hash"}
    for kind in RECORDS:
        for name, about in kind.model_fields.items():
            known |= {name, *(str(value) for value in get_args(about.annotation) if isinstance(value, str))}
    return known


def pack(run: Path, out: Path, here: Here | None = None) -> Packed:
    """Write the run in `run` to the file `out`, scrubbed of what is known of this machine.

    Raises UsageError where there is no episode or the file is there already, StorageError where it cannot be written.
    """
    if out.exists():
        raise UsageError(f"{out} is there already: name another file with -o, or remove it.")
    with guarded(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".mlgym-pack-", dir=out.parent) as scratch:
            packed = copied(run, Path(scratch), here)
            place, packed.file = packed.file, out
            tables = json.dumps(totals(place), indent=1).encode()
            (place / TABLES).write_bytes(tables)
            _manifest(place, packed)
            _tar(place, out)
    packed.bytes = out.stat().st_size
    return packed


def copied(run: Path, into: Path, here: Here | None = None, largest: int = LARGEST) -> Packed:
    """Write a scrubbed copy of the run in `run` as a new folder below `into`, which is the `file` of what is given
    back. Files of more than `largest` bytes are left out. Raises UsageError where there is no episode.
    """
    folders = list(episodes(run))
    if not folders:
        raise UsageError(f"There is no episode in {run}; give a run's folder.")
    whole = run.resolve()
    here = here or Here.now([whole, Path.cwd()])
    of_run = [run / name for name in OF_RUN]
    here = replace(here, addresses=tuple(_addresses([*of_run, *(folder / "spec.json" for folder in folders)])))
    scrubber = Scrubber(here, words())
    named = whole.parents[2].name if (run / "spec.json").exists() else whole.name
    place = into / (scrubber.text(named) or "run")
    place.mkdir()
    packer = _Packer(run, place, scrubber, Packed(place), largest)
    for folder in folders:
        packer.episode(folder)
    packer.rest()
    packer.packed.replaced, packer.packed.notes = scrubber.replaced, scrubber.left
    return packer.packed


class _Packer:
    """A scrubbed copy of a run, file by file."""

    def __init__(self, run: Path, place: Path, scrubber: Scrubber, packed: Packed, largest: int) -> None:
        self.run, self.place, self.packed = run, place, packed
        self.scrubber, self.largest = scrubber, largest
        self.tasks: dict[str, str] = {}

    def episode(self, folder: Path) -> None:
        """Copy one episode: its files first, whose hashes its records then give."""
        within = folder.relative_to(self.run).parts or folder.absolute().parts[-3:]
        name = "/".join(self.scrubber.text(part) for part in within)
        target = self.place / name
        if target.exists():
            self.packed.left_out[name] = "another episode has the same place once names are replaced"
            return
        (target / "attempts" / "files").mkdir(parents=True)
        renamed = self._files(folder, target, name)
        for part in JSONS:
            self._record(folder / part, target / part, renamed, whole=True)
        for part in LINES:
            self._record(folder / part, target / part, renamed, whole=False)
        for path in sorted((folder / "attempts").glob("[0-9]*.json")):
            self._record(path, target / "attempts" / path.name, renamed, whole=True)
        if (folder / "attempts" / COMPACT).exists():
            (target / "attempts" / COMPACT).touch()
        self.packed.episodes += 1

    def rest(self) -> None:
        """What belongs to the run as a whole; its protocol gets what the tables need of each task."""
        for name in OF_RUN:
            self._record(self.run / name, self.place / name, {}, whole=True)
        path = self.place / "protocol.lock"
        try:
            lock = json.loads(path.read_bytes()) if path.exists() else {}
            entries = lock.setdefault("task_protocol", {}).setdefault("tasks", {})
            for name, reference in self.tasks.items():
                entries[name] = {**_anchors(reference), **entries.get(name, {})}
        except (ValueError, TypeError, AttributeError) as error:
            raise UsageError(f"{self.run / path.name} is no lock that can be read: mend it, or remove it.") from error
        path.write_bytes(json.dumps(lock, indent=1, sort_keys=True).encode())

    def _files(self, folder: Path, target: Path, name: str) -> dict[str, str]:
        """Copy the files of the attempts; the new hash of each that was changed."""
        renamed: dict[str, str] = {}
        there = folder / "attempts" / "files"
        for path in sorted(there.iterdir()) if there.is_dir() else ():
            if not re.fullmatch("[0-9a-f]{64}", path.name) or path.is_symlink() or not path.is_file():
                continue
            shown = f"{name}/attempts/files/{path.name}"
            if path.stat().st_size > self.largest:
                self.packed.left_out[shown] = f"larger than {self.largest / 1_000_000:g} MB"
                continue
            data = path.read_bytes()
            clean = self.scrubber.file(data)
            if clean is None:
                self.packed.left_out[shown] = "it is no text and holds something that is to be replaced"
            elif clean is data:
                copy_whole(path, target / "attempts" / "files" / path.name)
            else:
                renamed[path.name] = hashlib.sha256(clean).hexdigest()
                (target / "attempts" / "files" / renamed[path.name]).write_bytes(clean)
        return renamed

    def _record(self, source: Path, target: Path, renamed: dict[str, str], *, whole: bool) -> None:
        if not source.is_file() or source.is_symlink():
            return
        data = source.read_bytes()
        for old, new in renamed.items():
            data = data.replace(old.encode(), new.encode())
        if source.name == "spec.json":
            data = self._spec(data)
        target.write_bytes(self.scrubber.json(data) if whole else self.scrubber.lines(data))
        about = source.stat()
        os.utime(target, ns=(about.st_atime_ns, about.st_mtime_ns))

    def _spec(self, data: bytes) -> bytes:
        """A spec without paths and addresses of this machine: folders are named only."""
        try:
            spec: dict[str, Any] = json.loads(data)
            before = dict(spec)
        except (ValueError, TypeError):
            return data
        reference = str(spec.get("task", ""))
        spec["task"] = Path(reference).name if "/" in reference else reference
        for key in ("memory", "papers"):
            if "/" in (places := str(spec.get(key, ""))):
                spec[key] = ",".join(Path(place).name for place in places.split(","))
        self.tasks.setdefault(self.scrubber.text(spec["task"]), reference)
        return data if spec == before else as_json(spec, 1)


def _addresses(records: Iterable[Path]) -> set[str]:
    """The addresses of servers that are not on this machine, as records have them: whole, with the port, the name."""
    found: set[str] = set()
    for path in records:
        try:
            given = set(_given(json.loads(path.read_bytes())))
        except (OSError, ValueError, RecursionError):
            continue
        for address in given:
            try:
                parts = urlsplit(address if "://" in address else f"//{address}")
                name = parts.hostname or ""
            except ValueError:
                found.add(address)
                continue
            if name not in LOOPBACK and (parts.scheme or parts.netloc != name):
                found |= {address.rstrip("/"), parts.netloc, name}
    return found


def _given(value: Any) -> Iterator[str]:
    """The addresses that a record was given."""
    for key, each in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        if key in ("base_url", "ray_address") and isinstance(each, str):
            yield each
        else:
            yield from _given(each)


def _anchors(reference: str) -> dict[str, Any]:
    """What a table needs to know of a task; empty where it is not here."""
    try:
        task = load_task(reference, recorded=True)
    except MlgymError:
        return {}
    anchors = task.anchors
    found = {"metric": task.metric, "direction": task.direction, "version": task.version}
    return found | {"scale": anchors.scale if anchors else "", "best": anchors.best if anchors else None}


def _manifest(place: Path, packed: Packed) -> None:
    """The list of all that is packed."""
    files = sorted(path for path in place.rglob("*") if path.is_file())
    packed.files = len(files)
    manifest = {
        "format": FORMAT,
        "mlgym": version("mlgym-env"),
        "episodes": packed.episodes,
        "replaced": dict(sorted(packed.replaced.items())),
        "left_out": packed.left_out,
        "files": {str(path.relative_to(place)): digest(path) for path in files},
    }
    (place / MANIFEST).write_bytes(json.dumps(manifest, indent=1).encode())


def digest(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _tar(place: Path, out: Path) -> None:
    """All files in order, the manifest last, with nothing of when and by whom."""
    names = sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file())
    names.sort(key=lambda name: name == MANIFEST)
    part = out.with_name(f".{out.name}.part")
    try:
        with (
            part.open("wb") as raw,
            gzip.GzipFile("", "wb", 6, raw, mtime=0) as zipped,
            tarfile.open(fileobj=zipped, mode="w", format=tarfile.GNU_FORMAT) as tar,
        ):
            for name in names:
                member = tarfile.TarInfo(name)
                member.size, member.mode = (place / name).stat().st_size, 0o644
                with (place / name).open("rb") as file:
                    tar.addfile(member, file)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
