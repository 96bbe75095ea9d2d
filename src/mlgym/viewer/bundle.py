"""`mlgym view --bundle`: the page and its data as one file, or as a folder, that opens from a disk without a server.

The documents are the server's own, gzipped: those of all runs in one part, those of each episode in another, which the
page unpacks when it is looked at. In one file the parts stand inside it, in a folder they lie beside the page.
"""

import base64
import gzip
import hashlib
import shutil
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any

from mlgym.disk import guarded, write_whole
from mlgym.errors import UsageError
from mlgym.viewer import joined
from mlgym.viewer.documents import Document, answer, as_json
from mlgym.viewer.shared import once
from mlgym.viewer.shown import WHOLE
from mlgym.viewer.steps import PAGE
from mlgym.viewer.store import Store

LARGEST = 20_000_000  # bytes of a page of one file
HEAD = 20_000  # characters of a text that are kept, where not all are asked for
FIELDS = ("thought", "action", "observation")
FILE = 5_000_000  # bytes of a file of an attempt: of larger ones nothing is shown
LINES = 1000  # of a file of the workspace, where not all is asked for
ALIKE = 8  # episodes of a task, whose submissions are compared
AT_ONCE = 200  # steps
MARK = "mlgym-page"  # a folder of such a page holds an empty file of that name
POLICY = "default-src 'none'; script-src {}; style-src {}; img-src data:; base-uri 'none'; form-action 'none'"
DATA = '<script type="application/octet-stream;base64" id="{}">{}</script>\n'


@dataclass
class Bundled:
    """What was made: the file to open, its episodes and steps, all bytes, and how many texts were cut."""

    page: Path
    episodes: int = 0
    steps: int = 0
    bytes: int = 0
    cut: int = 0


def bundle(store: Store, out: Path, *, whole: bool = False, force: bool = False) -> Bundled:
    """Write the episodes of a store to `out`: one file where it ends in .html, else a folder.

    Texts are cut to their first HEAD characters unless `whole` is asked for. What was written of a folder before an
    interrupt is not made again. Raises UsageError where `out` is there (unless `force`), or too large for one file.
    """
    if not store.keys:
        raise UsageError("There is no episode to make a page of.")
    single = free(out, force)
    with guarded(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
        return _file(store, out, whole) if single else _folder(store, out, whole)


def counted(n: int, what: str) -> str:
    """A number of things in words."""
    return f"{n} {what}{'s' * (n != 1)}"


def free(out: Path, force: bool) -> bool:
    """Whether `out` is a file's name, else a folder's; raises UsageError where no page may be put there."""
    single = out.suffix.lower() in (".html", ".htm")
    if out.exists() and not force:
        raise UsageError(f"{out} is there already: name another place, or replace it with --force.")
    if out.exists() and (out.is_dir() == single or (out.is_dir() and not (out / MARK).exists())):
        raise UsageError(f"{out} is no page that was made before, so it is not replaced: name another place.")
    return single


def _file(store: Store, out: Path, whole: bool) -> Bundled:
    made, inside, size = Bundled(out), list[str](), 0
    names = {key: f"part-{n}" for n, key in enumerate(store.keys)}
    for key, name in names.items():
        text = _packed(_of_episode(store, key, whole, made))
        size += len(text)
        if size > LARGEST:
            raise UsageError(
                f"A page of one file would have more than {LARGEST // 1_000_000} MB: give a folder's name."
            )
        inside.append(DATA.format(name, text))
    inside.insert(0, DATA.format("data", _packed(_of_all(store, names))))
    script, style = joined.script(), joined.style()
    policy = POLICY.format(f"'sha256-{_sha(script)}'", f"'sha256-{_sha(style)}'")
    front, rest = joined.skeleton()
    page = [front, _meta(policy), f"<style>{style}</style>\n", rest, *inside, f"<script>{script}</script>\n"]
    write_whole(out, "".join([*page, "</body>\n</html>\n"]).encode())
    made.bytes = out.stat().st_size
    return made


def _folder(store: Store, out: Path, whole: bool) -> Bundled:
    made, part = Bundled(out / "index.html"), out.with_name(f".{out.name}.part")
    (part / "data").mkdir(parents=True, exist_ok=True)
    names = {}
    for key in store.keys:
        names[key] = name = f"data/{_mark(store, key, whole)}.js"
        held, steps = part / name, store.row(key)["steps"]
        if held.exists():
            made.episodes, made.steps = made.episodes + 1, made.steps + (steps or 0)
            continue
        write_whole(held, f'globalThis.mlgymPart="{_packed(_of_episode(store, key, whole, made))}";\n'.encode())
    for left in {*(part / "data").iterdir()} - {part / name for name in names.values()}:
        left.unlink()
    front, rest = joined.skeleton()
    head = [front, _meta(POLICY.format("'self'", "'self'")), '<link rel="stylesheet" href="page.css">\n', rest]
    page = [*head, DATA.format("data", _packed(_of_all(store, names))), '<script src="page.js"></script>\n']
    write_whole(part / "page.js", joined.script().encode())
    write_whole(part / "page.css", joined.style().encode())
    write_whole(part / "index.html", "".join([*page, "</body>\n</html>\n"]).encode())
    (part / MARK).touch()
    if out.exists():
        shutil.rmtree(out)
    part.rename(out)
    made.bytes = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return made


def _of_all(store: Store, names: dict[str, str]) -> Document:
    """The documents of all runs, and where each episode's are."""
    runs = store.runs()
    told = {"runs": {**runs, "runs": [{**run, "path": run["run"]} for run in runs["runs"]]}}
    return {**told, "episodes": store.episodes(), "parts": names, **_pairs(store)}


def _pairs(store: Store) -> Document:
    """What the episodes of a task handed in against each other, where there are few; each pair once, in order."""
    tasks = Counter(key.split("/")[1] for key in store.keys)
    told: Document = {}
    for a, b in combinations(sorted(store.keys), 2):
        task = a.split("/")[1]
        if task != b.split("/")[1] or tasks[task] > ALIKE:
            continue
        told[f"compare/files?a={a}&b={b}"] = files = answer(store, "compare/files", {"a": a, "b": b})
        for row in files["files"]:
            query = {"a": a, "b": b, "path": row["path"]}
            told[f"compare/file?a={a}&b={b}&path={row['path']}"] = answer(store, "compare/file", query)
    return told


def _of_episode(store: Store, key: str, whole: bool, made: Bundled) -> Document:
    """All documents of an episode that the page may ask for, by their addresses below the episode's."""
    ask = partial(_asked, store, key)
    told: Document = {"": ask(""), "steps": _steps(store, key)}
    cards = told["steps"]["steps"]
    made.episodes, made.steps = made.episodes + 1, made.steps + len(cards)
    cut = 0
    for card in cards:
        n, sizes = card["n"], {name: card[name]["size"] for name in FIELDS}
        if card["action"]["folded"] or card["observation"]["folded"] or sizes["thought"] > len(card["thought"]["text"]):
            open = ask(f"step/{n}")
            told[f"step/{n}"] = open if whole else {**open, **{name: _head(open[name]) for name in FIELDS}}
        for name, size in sizes.items():
            cut += size > HEAD and not whole
            if size > WHOLE and whole:
                told[f"text?field={name}&step={n}"] = _text(ask, "text", size, step=n, field=name)
    told |= _calls(ask, whole)
    told |= _files(ask, len(cards), whole)
    if cut:
        made.cut += cut
        note = f"Of {counted(cut, 'long text')} this page holds the first {HEAD:,} characters."
        told[""]["problems"] = [*told[""].get("problems", ()), note]
    return told


def _asked(store: Store, key: str, what: str, **query: Any) -> Document:
    return answer(store, f"e/{key}/{what}".rstrip("/"), {name: str(value) for name, value in query.items()})


def _steps(store: Store, key: str) -> Document:
    told = _asked(store, key, "steps", count=AT_ONCE)
    while len(told["steps"]) < told["total"]:
        more = _asked(store, key, "steps", **{"from": len(told["steps"]) + 1, "count": AT_ONCE})["steps"]
        if not more:
            break
        told["steps"] += more
    return told


def _calls(ask: Any, whole: bool) -> Document:
    """The model's calls, and the long texts that are new in each."""
    told: Document = {"calls": ask("calls")}
    for n in (call["n"] for call in told["calls"]["calls"]):
        told[f"call/{n}"] = call = ask(f"call/{n}")
        texts = {str(each["place"]): each["text"] for each in call["messages"] if each["new"]}
        texts |= {name: call["reply"][name] for name in ("text", "reasoning")}
        for field, text in texts.items():
            if text["size"] > len(text["text"]):
                field = "reply" if field == "text" else field
                size = text["size"] if whole else min(HEAD, text["size"])
                told[f"calltext?call={n}&field={field}"] = _text(ask, "calltext", size, call=n, field=field)
    return told


def _head(shown: Document) -> Document:
    """The beginning of a text, a Shown or a Text as documents have them."""
    if isinstance(shown.get("text"), str):
        return {**shown, "text": shown["text"][:HEAD]}
    left, spans = HEAD, []
    for line in shown["spans"] or ():
        left -= sum(len(part) for _, part in line) + 1
        if left < 0:
            break
        spans.append(line)
    text = shown["text"] and _head(shown["text"])
    return {**shown, "text": text, "spans": shown["spans"] and spans}


def _text(ask: Any, what: str, size: int, **query: Any) -> str:
    pages = (ask(what, **query, **{"from": at, "count": min(PAGE, size - at)}) for at in range(0, size, PAGE))
    return "".join(page["text"] for page in pages)


def _files(ask: Any, steps: int, whole: bool) -> Document:
    """The files after each step; each file as it was after the steps that changed it."""
    told: Document = {}
    for n in range(1, steps + 1):
        told[f"files?step={n}"] = listed = ask("files", step=n)
        for row in listed["files"]:
            for against in ("none", "starter", *(("previous",) if row["since"] == n else ())):
                address = f"file?against={against}&path={row['path']}&step={row['since']}"
                if address not in told:
                    with suppress(UsageError):
                        told[address] = _cut(ask("file", step=row["since"], path=row["path"], against=against), whole)
    return told


def _cut(file: Document, whole: bool) -> Document:
    spans = file["spans"]
    if whole or not spans or len(spans) <= LINES:
        return file
    return {**file, "spans": spans[:LINES], "cut": True}


def _packed(documents: Document) -> str:
    return base64.b64encode(gzip.compress(as_json(once(documents)), 9, mtime=0)).decode()


def _mark(store: Store, key: str, whole: bool) -> str:
    """A name for an episode's part, which is another where its records or mlgym are."""
    sum = hashlib.sha256(f"{key} {whole} {version('mlgym-env')}".encode())
    for name in ("spec.json", "steps.jsonl", "calls.jsonl", "result.json"):
        with suppress(FileNotFoundError), (store.folder(key) / name).open("rb") as file:
            sum.update(hashlib.file_digest(file, "sha256").digest())
    return sum.hexdigest()[:20]


def _meta(policy: str) -> str:
    return f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'


def _sha(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
