"""Episodes on disk: RUN/TASK/METHOD/SEED/{spec.json, steps.jsonl, changes.jsonl, calls.jsonl, attempts/, result.json}.

Steps and calls are appended and flushed, what a step changed in the workspace before the step, attempts written whole
beside their files (by content hash), the result last: a folder with `result.json` is done, one without can go on. What
a kill left half-written is dropped. Whatever writes raises StorageError where the disk is full; after the first such
failure nothing more is written.
"""

import contextlib
import fcntl
import hashlib
import json
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

from pydantic import ValidationError

from mlgym import beside
from mlgym.disk import append_line, copy_whole, guarded, write_whole
from mlgym.errors import InUse, StorageError, UsageError
from mlgym.records import Attempt, Changes, EpisodeSpec, Message, Record, Reply, Result, Step

EPISODE_BYTES = 2_000_000_000
COMPACT = "compact"  # an empty file in an episode's attempts
R = TypeVar("R", bound=Record)
T = TypeVar("T")


def slug(text: str) -> str:
    """A folder's name for `text`: safe characters, at most 80, with a hash of the text where something was lost."""
    safe = re.sub(r"[^A-Za-z0-9._=-]+", "-", text).strip("-.") or "-"
    if safe == text and len(safe) <= 80:
        return safe
    return f"{safe[:70]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def method(spec: EpisodeSpec) -> str:
    """The folder's name of what is compared: agent, model, sampling, and where it went on from."""
    parts = [spec.agent, spec.model, *(f"{k}={spec.sampling[k]}" for k in sorted(spec.sampling))]
    parts += [f"from {spec.source}"] if spec.source else []
    return slug(" ".join(filter(None, parts)))


def episode_folder(run: Path, spec: EpisodeSpec) -> Path:
    """Where in `run` the episode of `spec` lives."""
    return run / slug(Path(spec.task).name) / method(spec) / str(spec.seed)


def episodes(run: Path) -> Iterator[Path]:
    """The folders of all episodes under `run` (which may itself be one), in order."""
    if (run / "spec.json").exists():
        yield run
    else:
        yield from sorted(path.parent for path in run.glob("*/*/*/spec.json"))


def lines(path: Path) -> list[bytes]:
    """The lines of a JSONL file; a torn last one is left out."""
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


def states(
    changes: Iterable[Changes], made: Callable[[int, str], T]
) -> Iterator[tuple[Changes, dict[str, T], dict[str, T]]]:
    """Each record of changes with the workspace before and after it: path -> what `made` makes of a step and a digest,
    that of a file that is gone being empty. A file that was not there at first, and is gone, is not told of again.
    """
    state, saved, first = dict[str, T](), dict[str, dict[str, T]](), set[str]()
    for one in changes:
        first = first or {*one.files}
        for mark in one.marks:
            if mark[:1] == "+":
                saved[mark[1:]] = state
            else:
                state = saved.get(mark[1:], state)
        after = {**state, **{path: made(one.n, digest) for path, digest in one.files.items()}}
        yield one, state, after
        gone = {path for path, digest in one.files.items() if not digest} - first
        state = {path: told for path, told in after.items() if path not in gone} if gone else after


class Episode:
    """One episode's folder, open for writing by this process alone; `read` opens one for reading."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: IO[str] | None = None
        self._sent: list[Message] = []
        self._failed: StorageError | None = None

    @classmethod
    def open(cls, folder: Path, spec: EpisodeSpec) -> "Episode":
        """Make or go on with the folder of `spec`; an unscored result is put aside, and what failed taken back.

        Raises UsageError when the folder holds steps of another spec or cannot be written, InUse when another process
        has it, StorageError when the disk is full.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = (folder / "lock").open("w")
        except OSError as error:
            raise UsageError(f"The episode's folder {folder} cannot be written: {error.strerror}.") from error
        episode = cls(folder)
        episode._lock = lock
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            episode.close()
            raise InUse(f"Another process is running the episode in {folder}; wait for it or stop it.") from error
        try:
            episode._begin(spec)
        except BaseException:
            episode.close()
            raise
        return episode

    def _begin(self, spec: EpisodeSpec) -> None:
        """Take away what a kill left half-written, and see that the folder is this spec's."""
        folder, path = self.folder, self.folder / "spec.json"
        for left in (*folder.glob("*.part*"), *folder.glob("attempts/**/*.part*")):
            left.unlink()
        begun = any((folder / name).exists() for name in ("steps.jsonl", "calls.jsonl", "result.json"))
        if not path.exists() or not begun:
            write_whole(path, spec.model_dump_json(indent=1).encode())
        else:
            self.same(spec)
        for name in ("steps.jsonl", "changes.jsonl", "calls.jsonl", "network.jsonl"):
            _drop_torn(folder / name)
        self._trim(len(lines(folder / "steps.jsonl")))
        with guarded(folder):
            (folder / "attempts" / "files").mkdir(parents=True, exist_ok=True)
        if (folder / "result.json").exists() and not (folder / "result.json").stat().st_size:
            (folder / "result.json").unlink()  # a file system's way to lose one in a power cut
        result = self.result
        if result is not None and not result.scored:
            self._reopen()

    @classmethod
    def read(cls, folder: Path) -> "Episode":
        """The episode in `folder`, for reading; raises UsageError when there is none."""
        if not (folder / "spec.json").exists():
            raise UsageError(f"There is no episode in {folder} (no spec.json).")
        return cls(folder)

    def same(self, spec: EpisodeSpec) -> None:
        """Raises UsageError where another spec has made the episode."""
        found = self.spec
        if found != spec:
            differs = [k for k in type(spec).model_fields if getattr(spec, k) != getattr(found, k)]
            raise UsageError(
                f"{self.folder} holds an episode with another {', '.join(differs)}: choose another folder with -o, "
                "or repeat the command that made it."
            )

    def close(self) -> None:
        """Let go of the lock."""
        if self._lock:
            self._lock.close()
            self._lock = None

    @property
    def spec(self) -> EpisodeSpec:
        """What decides the episode; raises UsageError where it cannot be read."""
        return _read(EpisodeSpec, self.folder / "spec.json")

    @property
    def result(self) -> Result | None:
        """The end of the episode, None while there is none."""
        path = self.folder / "result.json"
        return _read(Result, path) if path.exists() else None

    def steps(self) -> list[Step]:
        """The recorded steps in order."""
        return [Step.model_validate_json(line) for line in lines(self.folder / "steps.jsonl")]

    def replies(self) -> list[Reply]:
        """The recorded answers of the model in order."""
        calls = [json.loads(line) for line in lines(self.folder / "calls.jsonl")]
        return [Reply.model_validate_json(json.dumps(call["reply"])) for call in calls]

    def add_step(self, step: Step) -> None:
        """Append a step."""
        self._append("steps.jsonl", step.model_dump_json())

    def changes(self) -> list[Changes]:
        """What each step changed in the workspace, in order; none where that was not recorded."""
        return [Changes.model_validate_json(line) for line in lines(self.folder / "changes.jsonl")]

    def add_changes(self, changes: Changes, contents: Mapping[str, bytes]) -> None:
        """Append what a step changed, the `contents` by their sha256 first; `add_step` follows."""
        with self._writing():
            for digest, data in contents.items():
                if not self.file(digest).exists():
                    write_whole(self.file(digest), data)
        self._append("changes.jsonl", changes.model_dump_json())

    def add_call(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]], reply: Reply) -> None:
        """Append a model call with only the messages that are new since the call before; `keep` says how many stay."""
        keep = 0
        for old, new in zip(self._sent, messages, strict=False):
            if old != new:
                break
            keep += 1
        self._sent = list(messages)
        record = {
            "keep": keep,
            "messages": [m.model_dump(mode="json") for m in messages[keep:]],
            "tools": [tool["function"]["name"] for tool in tools],
            "reply": reply.model_dump(mode="json"),
        }
        self._append("calls.jsonl", json.dumps(record))

    def facts(self) -> dict[str, Any] | None:
        """What was found out of the model at its first call; None before."""
        path = self.folder / "model.json"
        try:
            return dict(json.loads(path.read_bytes())) if path.exists() else None
        except (ValueError, TypeError) as error:
            raise UsageError(
                f"{path} cannot be read: remove it, and what is known of the model is asked again."
            ) from error

    def add_facts(self, facts: dict[str, Any]) -> None:
        """Keep what was found out of the model."""
        write_whole(self.folder / "model.json", json.dumps(facts).encode())

    def add_asked(self, asked: dict[str, Any]) -> None:
        """Append a host that the sandbox asked the proxy for."""
        self._append("network.jsonl", json.dumps(asked))

    def asked(self) -> list[dict[str, Any]]:
        """The hosts that the sandbox asked the proxy for."""
        return [json.loads(line) for line in lines(self.folder / "network.jsonl")]

    @property
    def id(self) -> str:
        """A word that no other episode has, drawn when it is first asked for."""
        path = self.folder / "id"
        if not path.exists():
            write_whole(path, secrets.token_hex(8).encode())
        return path.read_text()

    @property
    def begun(self) -> bool:
        """Whether there are steps, if none yet."""
        return (self.folder / "steps.jsonl").exists()

    def take(self, other: "Episode", steps: Sequence[Step]) -> None:
        """Begin with the first `steps` of another episode, the calls and attempts that belong to them before them."""
        if (facts := other.facts()) and (steps or other.spec.model == self.spec.model):
            self.add_facts(facts)  # of another model too: the steps were chosen by them, and are again
        for attempt in other.attempts():
            if attempt.step <= len(steps) and attempt.kind == "validate":
                for digest in {*attempt.files.values(), *attempt.code.values()}:
                    if other.file(digest).exists():  # not let go for space
                        copy_whole(other.file(digest), self.file(digest))
                self.add_attempt(attempt)
        changes = [one for one in other.changes() if one.n <= len(steps)]
        for digest in {digest for one in changes for digest in one.files.values() if digest}:
            if other.file(digest).exists():
                copy_whole(other.file(digest), self.file(digest))
        if changes:
            _write_lines(self.folder / "changes.jsonl", changes)
        calls = lines(other.folder / "calls.jsonl")[: steps[-1].calls if steps else 0]
        write_whole(self.folder / "calls.jsonl", b"".join(line + b"\n" for line in calls))
        _write_lines(self.folder / "steps.jsonl", steps)

    def attempts(self) -> list[Attempt]:
        """The recorded attempts in order; of an episode that was made compact those of its result."""
        if (self.folder / "attempts" / COMPACT).exists() and (result := self.result):
            return list(result.attempts)
        return [_read(Attempt, path) for path in sorted((self.folder / "attempts").glob("[0-9]*.json"))]

    def add_attempt(self, attempt: Attempt, folders: Iterable[Path] = ()) -> None:
        """Write an attempt, its files (taken from the `folders` where they lie frozen) first."""
        wanted = {**attempt.code, **attempt.files}
        with self._writing():
            for name, digest in wanted.items():
                target = self.file(digest)
                source = next((f / name for f in folders if (f / name).exists()), None)
                if source and not target.exists():
                    copy_whole(source, target)
            write_whole(self.folder / "attempts" / f"{attempt.n:04d}.json", attempt.model_dump_json(indent=1).encode())

    def checkout(self, files: dict[str, str], into: Path) -> Path:
        """Lay the files of an attempt into the fresh folder `into`; raises FileNotFoundError for a file let go.

        Raises UsageError for a name that does not stay in it, as a record that was tampered with may have.
        """
        for name, digest in files.items():
            if name.startswith("/") or ".." in name.split("/"):
                raise UsageError(f"{self.folder} has an attempt with the file {name!a}, which no agent can have made.")
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.file(digest), into / name)
        return into

    def prune(self, keep: Iterable[Attempt], limit: int = EPISODE_BYTES) -> None:
        """Let go of the oldest attempts' files until the episode's files fit `limit` bytes; those of `keep` stay."""
        kept = {digest for attempt in keep for digest in {**attempt.files, **attempt.code}.values()}
        total = sum(p.stat().st_size for p in (self.folder / "attempts" / "files").iterdir())
        for attempt in self.attempts():
            for digest in {**attempt.files, **attempt.code}.values():
                path = self.file(digest)
                if total > limit and digest not in kept and path.exists():
                    total -= path.stat().st_size
                    path.unlink()

    def compact(self, keep: Iterable[Attempt]) -> None:
        """Let go of what an ended episode can do without: all files but those of the attempts of `keep`, what each step
        changed, and the records of attempts, which its result holds too.
        """
        if self.result is None:
            return
        kept = {digest for attempt in keep for digest in {**attempt.files, **attempt.code}.values()}
        for path in (self.folder / "attempts" / "files").iterdir():
            if path.name not in kept:
                path.unlink()
        (self.folder / "attempts" / COMPACT).touch()  # first: a kill leaves nothing half told
        gone = self.folder / "changes.jsonl", self.folder / "lock"
        for path in (*(self.folder / "attempts").glob("[0-9]*.json"), *gone):
            path.unlink(missing_ok=True)

    def finish(self, result: Result) -> None:
        """Write the result: the last thing an episode does."""
        with self._writing():
            write_whole(self.folder / "result.json", result.model_dump_json(indent=1).encode())

    def file(self, digest: str) -> Path:
        """Where a stored file of that sha256 lies (or lay, before it was let go)."""
        if not re.fullmatch("[0-9a-zA-Z]+", digest):
            raise UsageError(f"{self.folder} has an attempt with the hash {digest!a}, which is none.")
        return self.folder / "attempts" / "files" / digest

    def intact(self, digest: str) -> bool | None:
        """Whether the stored file still has that sha256; None when it was let go."""
        try:
            with self.file(digest).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == digest
        except FileNotFoundError:
            return None

    def _reopen(self) -> None:
        """Take back the steps that a fault left unscored at the end, and their attempts; the failed try is kept."""
        steps, taken, path = self.steps(), list[bytes](), self.folder / "result.json"
        while steps and steps[-1].reward is None:
            taken.insert(0, steps.pop().model_dump_json().encode())
        result = json.loads(path.read_bytes())
        kept = any(row["result"] == result for row in beside.tries(self.folder))  # by one that was killed right here
        if not kept:
            at = path.stat().st_mtime
            beside.add_try(self.folder, result["boundary"], result["why"], result=result, steps=taken, at=at)
        for attempt in self.attempts():
            if attempt.step > len(steps):
                (self.folder / "attempts" / f"{attempt.n:04d}.json").unlink()
        _write_lines(self.folder / "steps.jsonl", steps)
        self._trim(len(steps))
        path.unlink()

    def _trim(self, steps: int) -> None:
        """Let go of what was changed by steps that are not recorded."""
        found = self.changes()
        kept = [changes for changes in found if changes.n <= steps]
        if len(kept) < len(found):
            _write_lines(self.folder / "changes.jsonl", kept)

    def _append(self, name: str, line: str) -> None:
        with self._writing():
            append_line(self.folder / name, line.encode())

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Once a write has failed no later one may succeed, whoever caught the error: there would be a gap."""
        if self._failed:
            raise self._failed
        try:
            yield
        except StorageError as error:
            self._failed = error
            raise


def _read(kind: type[R], path: Path) -> R:
    try:
        return kind.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise UsageError(f"{path} cannot be read, so this episode is lost; choose another folder.") from error


def _write_lines(path: Path, records: Sequence[Record]) -> None:
    write_whole(path, b"".join(record.model_dump_json().encode() + b"\n" for record in records))


def _drop_torn(path: Path) -> None:
    """Cut a last line without its newline, which a kill left behind."""
    if path.exists():
        data = path.read_bytes()
        if not data.endswith(b"\n"):
            with path.open("r+b") as file:
                file.truncate(data.rfind(b"\n") + 1)
