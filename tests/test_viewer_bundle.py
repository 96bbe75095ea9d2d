"""`mlgym view --bundle`: pages without a server, that hold what the server would have answered and no secrets."""

import base64
import gzip
import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mlgym.cli import app
from mlgym.errors import UsageError
from mlgym.records import Message, Reply
from mlgym.store import Episode
from mlgym.viewer import joined
from mlgym.viewer.bundle import HEAD, bundle
from mlgym.viewer.documents import answer
from mlgym.viewer.shared import once
from mlgym.viewer.store import Store
from tests.recorded_runs import episode, step

KEY = "sk-ant-api03-" + "Ab9_" * 10
LONG = "".join(f"line {n} of what was printed\n" for n in range(2000))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two episodes, of which one has a long text, a key, and calls."""
    folder = tmp_path_factory.mktemp("pages") / "runs"
    steps = [
        step(1, "bash", LONG, command="cat log", thought="Look."),
        step(2, "bash", f"TOKEN={KEY}", command=f"export A='{KEY}' # </script><script>alert(1)</script>"),
        step(3, "submit", "Over.", status="end", calls=1),
    ]
    store = Episode.read(episode(folder / "ours", steps=steps))
    for n in range(1, 4):
        messages = [Message(role="user", content=f"Message {each} of a conversation " * 20) for each in range(n)]
        store.add_call(messages, [], Reply(text=f"Answer {n}", tokens_in=10, money=0.01))
    episode(folder / "ours", seed=1, progress=0.9)
    return folder


def resolved(value: Any, shared: list[Any]) -> Any:
    """What the page's script makes of a part."""
    if isinstance(value, dict):
        return {name: referred(inner, shared) for name, inner in value.items()}
    return [referred(inner, shared) for inner in value] if isinstance(value, list) else value


def referred(value: Any, shared: list[Any]) -> Any:
    if isinstance(value, dict) and set(value) == {"="}:
        return resolved(shared[value["="]], shared)
    return resolved(value, shared)


def unpacked(text: str) -> Any:
    held = json.loads(gzip.decompress(base64.b64decode(text)))
    return resolved(held["documents"], held["shared"])


def parts(html: str) -> dict[str, Any]:
    """What the parts in a page hold, by their names."""
    found = re.findall(r'<script type="application/octet-stream;base64" id="([\w-]+)">([^<]*)</script>', html)
    return {name: unpacked(text) for name, text in found}


def page_of(runs: Path, out: Path, **options: Any) -> dict[str, Any]:
    return parts(bundle(Store([runs]), out, **options).page.read_text())


def test_it_holds_what_the_server_answers(runs: Path, tmp_path: Path) -> None:
    held = page_of(runs, tmp_path / "page.html", whole=True)
    store = Store([runs])
    assert list(held) == ["data", "part-0", "part-1"]
    assert set(held["data"]["parts"]) == set(store.keys)
    assert held["data"]["episodes"]["rows"] == store.episodes()["rows"]
    key = store.keys[0]
    mine = held[held["data"]["parts"][key]]
    whole = answer(store, f"e/{key}", {})
    assert {name: mine[""][name] for name in ("key", "steps", "line", "attempts")} == {
        name: whole[name] for name in ("key", "steps", "line", "attempts")
    }
    assert mine["steps"]["steps"] == answer(store, f"e/{key}/steps", {})["steps"]
    assert mine["step/1"] == json.loads(json.dumps(answer(store, f"e/{key}/step/1", {})))
    assert mine["call/3"] == answer(store, f"e/{key}/call/3", {}) and len(mine["call/3"]["messages"]) == 3
    assert mine["files?step=3"] == answer(store, f"e/{key}/files", {"step": "3"})
    assert str(runs) not in json.dumps(held["data"])


def test_its_policy_lets_nothing_in_but_itself(runs: Path, tmp_path: Path) -> None:
    html = bundle(Store([runs]), tmp_path / "page.html").page.read_text()
    script, style = (re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL) for tag in ("script", "style"))
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', html)
    hashes = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in (script[0], style[0])]
    assert policy == (
        f"default-src 'none'; script-src 'sha256-{hashes[0]}'; style-src 'sha256-{hashes[1]}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    assert len(script) == len(style) == 1
    assert html.index("Content-Security-Policy") < min(html.index("<style>"), html.index("<script"))
    assert not re.search(r"\b(?:src|href)=\"(?!data:|#)", html)


def test_long_texts_are_cut_and_said(runs: Path, tmp_path: Path) -> None:
    store = Store([runs])
    made = bundle(store, tmp_path / "page.html")
    held = parts(made.page.read_text())["part-0"]
    assert (made.episodes, made.steps, made.cut) == (2, 7, 1)
    seen = held["step/1"]["observation"]
    text = seen["text"]["text"]
    assert len(text) == HEAD and seen["size"] == len(LONG) - 1 and text == LONG[:HEAD]
    assert "1 long text" in held[""]["problems"][-1]
    whole = bundle(store, tmp_path / "whole.html", whole=True)
    assert whole.cut == 0
    assert parts(whole.page.read_text())["part-0"]["step/1"]["observation"]["text"]["text"] == LONG[:-1]


def test_a_folder_goes_on_where_it_was_and_is_whole_or_not_there(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, part = tmp_path / "pages", tmp_path / ".pages.part"
    with monkeypatch.context() as broken:
        broken.setattr(joined, "script", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            bundle(Store([runs]), out)
    assert not out.exists()
    times = {path.name: path.stat().st_mtime_ns for path in (part / "data").iterdir()}
    (part / "data" / "left.js").write_text("of another run")
    made = bundle(Store([runs]), out)
    assert (made.page, made.episodes, made.steps) == (out / "index.html", 2, 7)
    assert {path.name: path.stat().st_mtime_ns for path in (out / "data").iterdir()} == times and len(times) == 2
    assert not part.exists()
    html = made.page.read_text()
    assert "'self'" in html and 'src="page.js"' in html and "sha256" not in html
    names = parts(html)["data"]["parts"]
    for name in names.values():
        text = (out / name).read_text()
        assert unpacked(text.removeprefix('globalThis.mlgymPart="').removesuffix('";\n'))["steps"]["total"] in (3, 4)


def test_nothing_is_overwritten(runs: Path, tmp_path: Path) -> None:
    store = Store([runs])
    for name in ("page.html", "pages"):
        made = bundle(store, tmp_path / name)
        with pytest.raises(UsageError, match=f"{name} is there already"):
            bundle(store, tmp_path / name)
        assert bundle(store, tmp_path / name, force=True) == made
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    for name in ("mine", "page.html/", "pages"):
        target = tmp_path / "pages.html" if name == "pages" else tmp_path / name
        if name == "pages":
            shutil.copytree(tmp_path / "pages", target)
        elif name == "page.html/":
            target = tmp_path / "page"
            shutil.copy(tmp_path / "page.html", target)
        with pytest.raises(UsageError, match="not replaced"):
            bundle(store, target, force=True)
    assert (mine / "thesis.txt").exists()


def test_a_run_too_large_for_a_file_goes_to_a_folder(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlgym.viewer.bundle.LARGEST", 1000)
    with pytest.raises(UsageError, match="give a folder's name"):
        bundle(Store([runs]), tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
    assert bundle(Store([runs]), tmp_path / "pages").episodes == 2


def view(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["view", *map(str, arguments)])


def test_what_pack_would_replace_is_replaced(runs: Path, tmp_path: Path) -> None:
    done = view("--bundle", tmp_path / "page.html", runs)
    assert done.exit_code == 0, done
    assert "Replaced: a key of Anthropic, 2 times.\n" in done.output
    assert "2 episodes with 7 steps" in done.output and "MB" in done.output
    told = json.dumps(parts((tmp_path / "page.html").read_text()))
    assert "Ab9_Ab9" not in told and "«secret»" in json.loads(json.dumps(told.encode().decode("unicode_escape")))
    held = parts((tmp_path / "page.html").read_text())
    began = {row[held["data"]["episodes"]["columns"].index("began")] for row in held["data"]["episodes"]["rows"]}
    assert began == {path.stat().st_mtime for path in runs.glob("*/*/*/*/spec.json")}


def test_one_episode_alone(runs: Path, tmp_path: Path) -> None:
    one = next(runs.glob("*/*/*/0"))
    done = view("--bundle", tmp_path / "page.html", one)
    assert done.exit_code == 0, done
    (key,) = parts((tmp_path / "page.html").read_text())["data"]["parts"]
    assert key == "/".join(one.parts[-4:])
    assert (tmp_path / "page.html").stat().st_size < 500_000


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["no-such-folder"], "There is no folder no-such-folder"),
        (["."], "There is no episode in ."),
        (["--port", "70000", "."], "65535"),
        (["--bundle", "there.html", "."], "there.html is there already"),
        (["--tokens", "no-such-file", "RUNS"], "The tokens in no-such-file cannot be read"),
        (["--host", "no such host", "RUNS"], "cannot be listened at"),
        (["--port", "1", "--host", "203.0.113.7", "RUNS"], "203.0.113.7:1 cannot be listened at"),
    ],
)
def test_a_mistake_is_a_sentence(
    arguments: list[str], says: str, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.html").touch()
    done = view(*(str(runs) if word == "RUNS" else word for word in arguments))
    told = done.output + str(done.exception)
    assert done.exit_code != 0 and says in told


def test_the_modules_can_be_joined() -> None:
    """Names are unique, imports and exports of one form, and no text would end the script that holds them."""
    script = joined.script()
    assert script.count('"use strict";') == 1 and "fromBundle" in script and "start();" in script
    assert not re.search(r"^(?:import|export)\b", script, re.MULTILINE)
    assert len(joined.style()) > 1000


@pytest.mark.parametrize(
    ("module", "why"),
    [
        ("export const shared = 1;\n", "same names at their top: shared"),
        ("export function shared() {}\n", "shared"),
        ("const { a, shared } = {};\n", "shared"),
        ('import * as all from "./b.js";\n', "cannot be joined"),
        ('import { shared as other } from "./b.js";\n', "cannot be joined"),
        ('export { shared } from "./b.js";\n', "cannot be joined"),
        ("export default 1;\n", "cannot be joined"),
        ('const later = import("./b.js");\n', "cannot be joined"),
        ('export const text = "</script>";\n', "cannot hold </script"),
        ('export const text = "<!--";\n', "cannot hold <!--"),
    ],
)
def test_modules_that_cannot_be_joined(tmp_path: Path, module: str, why: str) -> None:
    (tmp_path / "index.html").write_text('<script type="module" src="main.js"></script>\n')
    (tmp_path / "main.js").write_text(f'import {{ shared }} from "./b.js";\n{module}shared();\n')
    (tmp_path / "b.js").write_text("export function shared() {}\n")
    with pytest.raises(ValueError, match=re.escape(why)):
        joined.script(tmp_path)


def test_modules_stand_behind_what_they_import(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text('<script type="module" src="main.js"></script>\n')
    (tmp_path / "main.js").write_text('import { b } from "./b.js";\nimport { c } from "./c.js";\nb(c);\n')
    (tmp_path / "b.js").write_text('import { c } from "./c.js";\nexport async function b() { return c; }\n')
    (tmp_path / "c.js").write_text("export const c = 1;\n")
    body = joined.script(tmp_path)
    assert body.index("const c = 1") < body.index("async function b") < body.index("b(c);")


@pytest.mark.parametrize("css", ["@import 'x';", "a { background: url(http://x/y) }", "</style>"])
def test_styles_that_cannot_be_joined(tmp_path: Path, css: str) -> None:
    (tmp_path / "index.html").write_text('<link rel="stylesheet" href="a.css">\n')
    (tmp_path / "a.css").write_text(css)
    with pytest.raises(ValueError, match="cannot hold"):
        joined.style(tmp_path)


def test_what_stands_there_twice_is_stored_once() -> None:
    big = {"text": "x" * 100, "inner": [["k", "y" * 80]]}
    documents = {"a": [big, {"=": 3}], "b": {"c": big, "d": big["inner"]}, "e": [[big]], "f": {"=": "x" * 100}}
    packed = once(documents)
    assert json.dumps(packed).count("x" * 100) == 2 and json.dumps(packed).count("y" * 80) == 1
    assert resolved(packed["documents"], packed["shared"]) == documents
