"""Shell commands as people read them: what they write and run, each part in its own language."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from mlgym.viewer.ink import Spans, inked, language
from mlgym.viewer.windows import inside

SHORT = 6  # lines of a script that is told by one of them
LONGEST, MOST = 200_000, 100  # characters of a command that are looked at, and stretches that are told apart
_HEREDOC = re.compile(r"(?<!<)<<-?[ \t]*(['\"]?)\\?([A-Za-z_]\w{0,60})\1(?!<)")
_TARGET = re.compile(
    r"(>>?)[ \t]*['\"]?([^\s'\"|;&<>]{1,300})|\btee[ \t]+(-a[ \t]+)?['\"]?([^\s'\"|;&<>-][^\s'\"|;&<>]{0,300})"
)
_INLINE = re.compile(r"\bpython[\d.]*(?:[ \t]+-[A-Zbduv]+)*[ \t]+-c[ \t]+(['\"])")
_RUNS = re.compile(r"\b(python|bash|sh|perl|node|Rscript)[\d.]*\b")
_READS = re.compile(
    r"\s*(?:cd\s+[^\s;&|]+\s*(?:&&|;)\s*)?(?:cat|head|tail|sed\s+-n)"
    r"(?:\s+-[\w=]+|\s+\d+|\s+'[\d,$p ;]+'|\s+\"[\d,$p ;]+\")*"
    r"\s+([^\s;&|<>*?'\"-][^\s;&|<>*?'\"]{0,300})(?:\s*$|\s*[;&|\n])"
)
_SETUP = re.compile(r"(?:set [-+]|export |source |\. |#|cd [^;&|]*$|true$|sleep )")
_LEXERS = {"python": "python", "bash": "bash", "sh": "bash", "node": "javascript", "Rscript": "r"}


@dataclass(frozen=True)
class Part:
    """A stretch of a command: `shell`, the lines of a `file`, a `script`, or the `mark` at the end of either. `path` is
    the file, `appends` where it is not made anew, `known` where the shell puts nothing of its own into the text.
    """

    text: str
    kind: Literal["shell", "file", "script", "mark"] = "shell"
    lexer: str = "bash"
    path: str = ""
    appends: bool = False
    known: bool = True


def parts(command: str) -> list[Part]:
    """The stretches of a command, which together are the command."""
    out = [part for part in itertools.islice(_heredocs(command[:LONGEST]), MOST) if part.text]
    rest = command[sum(len(part.text) for part in out) :]
    return [*out, Part(rest, lexer="")] if rest else out


def inked_command(command: str) -> Spans:
    """The lines of a command, each stretch in its own colours."""
    out: Spans = [[]]
    for part in parts(command):
        first, *rest = inked(part.text, part.lexer)
        out[-1] += first
        out += rest
    return out


def reads(command: str) -> str:
    """The one file that a command prints before it does anything else; empty for others."""
    found = _READS.match(command[:1000])
    return found[1] if found and not re.search(r"\b(?:cat|head|tail|sed)\s", command[found.end() :]) else ""


def gist(command: str) -> str:
    """What a command does in a few words: the files it writes, the commands that it runs, no preparations."""
    told: list[str] = []
    before = ""
    for part in parts(command):
        if part.kind == "file":
            told.append(f"{'add to' if part.appends else 'write'} {inside(part.path)}")
        elif part.kind == "script":
            told[-1:] = [f"{told[-1] if told else ''} {_first(part.text)}".strip()]
        elif part.kind == "shell":
            told += _statements(part.text.partition("\n")[2] if before == "script" else part.text)
        before = part.kind
        if len(told) > 5:
            break
    return "; ".join(told) or " ".join(command[:400].split())


def _heredocs(command: str) -> Iterator[Part]:
    start = at = 0
    while (end := command.find("\n", at)) >= 0:
        line = command[at:end]
        found = _HEREDOC.search(line[:2000]) if "<<" in line else None
        body = end + 1
        at = body
        if not found:
            continue
        close = re.compile(rf"^\t*{found[2]}$", re.MULTILINE).search(command, body)
        stop = close.start() if close else len(command)
        yield from _inline(command[start:body])
        yield _written(line, command[body:stop], quoted=bool(found[1]) or "\\" in found[0])
        start = at = close.end() if close else len(command)
        yield Part(command[stop:start], "mark")
    yield from _inline(command[start:])


def _written(line: str, body: str, *, quoted: bool) -> Part:
    """The lines of a heredoc, by the line that it stands on."""
    target = _TARGET.search(line[:2000])
    known = quoted or not re.search(r"[$`\\]", body)
    if target:
        path = target[2] or target[4]
        return Part(body, "file", language(path), path, target[1] == ">>" or bool(target[3]), known)
    runs = _RUNS.search(line[:2000])
    return Part(body, "script", _LEXERS.get(runs[1], "") if runs else "", known=known)


def _inline(shell: str) -> Iterator[Part]:
    """Shell with scripts of Python in quotes."""
    start = 0
    while found := _INLINE.search(shell, start):
        body = found.end()
        stop = body
        while (stop := shell.find(found[1], stop)) > 0 and found[1] == '"' and shell[stop - 1] == "\\":
            stop += 1
        if stop < 0:
            break
        yield Part(shell[start:body])
        yield Part(shell[body:stop], "script", "python")
        start = stop
    yield Part(shell[start:])


def _statements(shell: str) -> list[str]:
    """The lines of a stretch of shell that do something, heads of heredocs and preparations left out."""
    out = []
    for line in shell[:2000].split("\n"):
        if _HEREDOC.search(line) and _TARGET.search(line):
            continue
        line = re.sub(r"^\s*cd\s+[^\s;&|]+\s*(?:&&|;)\s*", "", _HEREDOC.sub("", line)).strip(" \t'\"")
        if line and not _SETUP.match(line):
            out.append(line)
    return out


def _first(code: str) -> str:
    """The first line of a short script that does more than to import; of a long one how long it is."""
    lines = [line.strip() for line in code.split("\n") if line.strip()]
    if len(lines) > SHORT:
        return f"… ({len(lines)} lines)"
    return next((line for line in lines if not line.startswith(("import ", "from ", "#"))), lines[0] if lines else "")
