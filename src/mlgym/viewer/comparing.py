"""What two episodes handed in, against each other: which files differ, and how."""

from typing import Any

from mlgym.errors import UsageError
from mlgym.records import Attempt
from mlgym.viewer.differences import between
from mlgym.viewer.folder import Folder
from mlgym.viewer.ink import language
from mlgym.viewer.states import LARGEST, LINES, Version, stored, text_of
from mlgym.viewer.visible import visible

Document = dict[str, Any]


def listing(a: Folder, b: Folder) -> Document:
    """The files of both submissions: {files: [{path, change: same|changed|left|right, sizes}], note}."""
    left, right = handed_in(a), handed_in(b)
    rows = [_row(name, _version(a, left.get(name)), _version(b, right.get(name))) for name in sorted({*left, *right})]
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
    (old, no_old), (new, no_new) = (_text(_version(of, has.get(names[path]))) for of, has in ((a, left), (b, right)))
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


def _version(of: Folder, digest: str | None) -> Version | None:
    return Version(0, "attempt", digest, stored(of, digest)) if digest else None


def _row(name: str, left: Version | None, right: Version | None) -> Document:
    sizes = [version.size if version else None for version in (left, right)]
    return {"path": visible(name), "change": "left" if left else "right", "sizes": sizes}


def _text(version: Version | None) -> tuple[str, str]:
    """The text of a file, or why it has none that can be compared."""
    text, size = text_of(version), version.size if version else 0
    if size is None:
        return "", "The file was let go, for the episode's files were too large."
    if size > LARGEST:
        return "", f"The file is larger than {LARGEST:,} bytes."
    if text is None:
        return "", "The file is not text."
    return text, f"The file has more than {LINES:,} lines." if text.count("\n") >= LINES else ""
