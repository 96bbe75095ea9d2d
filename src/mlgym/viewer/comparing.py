"""What two episodes handed in, against each other: which files differ, and how."""

import errno
from pathlib import Path
from typing import Any

from mlgym.disk import content
from mlgym.errors import UsageError
from mlgym.records import Attempt
from mlgym.store import Episode
from mlgym.viewer.differences import between
from mlgym.viewer.finding import regular
from mlgym.viewer.folder import Folder
from mlgym.viewer.ink import language
from mlgym.viewer.visible import visible

Document = dict[str, Any]
LARGEST = 2_000_000  # bytes of a file that is compared line by line
LINES = 5_000


def listing(a: Folder, b: Folder) -> Document:
    """The files of both submissions: {files: [{path, change: same|changed|left|right, sizes}], note}."""
    left, right = handed_in(a), handed_in(b)
    rows = [_row(name, _path(a, left.get(name)), _path(b, right.get(name))) for name in sorted({*left, *right})]
    for row, name in zip(rows, sorted({*left, *right}), strict=True):
        if name in left and name in right:
            row["change"] = "same" if left[name] == right[name] else "changed"
    gone = [of.key for of, found in ((a, left), (b, right)) if not found]
    note = f"No files were kept of what {' and '.join(gone)} handed in." if gone else ""
    return {"files": [] if gone else rows, "note": visible(note)}


def difference(a: Folder, b: Folder, path: str) -> Document:
    """One file of the first submission against that of the second: {path, hunks or null, note}."""
    left, right = handed_in(a), handed_in(b)
    names = {visible(name): name for name in {*left, *right}}
    if path not in names:
        raise UsageError(f"Neither of the two has handed in a file '{path}'.")
    (old, no_old), (new, no_new) = (_text(_path(of, has.get(names[path]))) for of, has in ((a, left), (b, right)))
    why = no_old or no_new
    hunks = None if why else between(old, new, language(path))
    return {"path": path, "hunks": hunks, "note": why or ("" if hunks else "They differ only in how lines end.")}


def handed_in(of: Folder) -> dict[str, str]:
    """Path -> sha256 of the submission that counts: the last one, or while the episode runs its best so far."""
    graded = [each for each in of.attempts if each.valid and (each.files or each.code)]
    final = next((each for each in reversed(graded) if each.kind != "validate"), None)
    found = final or max(graded, key=lambda each: _worth(each, of), default=None)
    return {**found.code, **found.files} if found else {}


def _worth(attempt: Attempt, of: Folder) -> tuple[float, int]:
    score = (attempt.validation or {}).get(of.records.metric)
    sign = -1.0 if of.records.direction == "minimize" else 1.0
    return (-float("inf") if score is None else sign * score, attempt.n)


def _path(of: Folder, digest: str | None) -> Path | None:
    return Episode(of.folder).file(digest) if digest else None


def _row(name: str, left: Path | None, right: Path | None) -> Document:
    sizes = [path.stat().st_size if path and regular(str(path)) else None for path in (left, right)]
    return {"path": visible(name), "change": "left" if left else "right", "sizes": sizes}


def _text(path: Path | None) -> tuple[str, str]:
    """The text of a file, or why it has none that can be compared."""
    if path is None:
        return "", ""
    try:
        data = content(path, LARGEST)
    except OSError as error:
        if error.errno == errno.EFBIG:
            return "", f"The file is larger than {LARGEST:,} bytes."
        return "", "The file was let go, for the episode's files were too large."
    if b"\0" in data:
        return "", "The file is not text."
    why = f"The file has more than {LINES:,} lines." if data.count(b"\n") > LINES else ""
    return visible(data.decode(errors="replace")).removesuffix("\n"), why
