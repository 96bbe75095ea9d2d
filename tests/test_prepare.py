"""Preparing a task: once, whole or not at all, in the grader's environment."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from wheels import CODE, TOML, tiny_task, wheel

from mlgym.errors import TaskError
from mlgym.grading.prepare import prepare
from mlgym.task import load_task

IMPORTS = "import sys; from mlgym.task import load_task; from mlgym.grading.prepare import prepare\n"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """A fresh cache, and no registry but a folder."""
    monkeypatch.setenv("MLGYM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "registry"))
    monkeypatch.delenv("MLGYM_OFFLINE", raising=False)
    return tmp_path / "cache"


def code(body: str) -> str:
    """A hidden module whose prepare has this body."""
    lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
    return f"import json, os, sys, time\n\ndef prepare(public, private, *, settings, seed):\n{lines}\n"


def test_public_and_private_are_made_once(tmp_path, cache):
    task = load_task(tiny_task(tmp_path / "tiny"))
    prepared = prepare(task)
    assert (prepared.public / "visible.txt").read_text() == "visible"
    assert (prepared.private / "answers.txt").read_text() == "hidden"
    assert prepared.data == "" and prepared.env == prepared.grader_env
    before = (prepared.public / "visible.txt").stat().st_mtime_ns
    assert prepare(task) == prepared and (prepared.public / "visible.txt").stat().st_mtime_ns == before
    assert len(list((cache / "prepared").iterdir())) == 1


def test_settings_and_seed_reach_it_and_the_callers_keys_do_not(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    body = "(public / 'x').write_text(json.dumps([settings, seed, sorted(os.environ), sys.flags.isolated, sys.prefix]))"
    toml = TOML + "[settings]\nrows = 10\nseed = 5\n[variant.mini.settings]\nrows = 2\n"
    tiny_task(tmp_path / "tiny", toml, code(body))
    for name, rows in (("tiny", "10"), ("tiny-mini", "2")):
        prepared = prepare(load_task(tmp_path / name))
        text = (prepared.public / "x").read_text()
        assert text.startswith(f'[{{"rows": {rows}, "seed": 5, "sources": {{}}}}, 5, [')
        assert "OPENAI" not in text and f', 1, "{prepared.grader_env}"]' in text


@pytest.mark.parametrize("change", ["code", "version", "settings", "unrelated"])
def test_it_is_made_again_when_what_decides_the_data_changes(tmp_path, change):
    folder = tiny_task(tmp_path / "tiny", TOML + "[settings]\nrows = 10\n")
    first = prepare(load_task(folder))
    text = (folder / "task.toml").read_text()
    if change == "code":
        (folder / "task.py").write_text(CODE.replace("hidden", "other"))
    new = {
        "version": ("version = 1", "version = 2"),
        "settings": ("rows = 10", "rows = 11"),
        "unrelated": ("tiny", "small"),
    }
    (folder / "task.toml").write_text(text.replace(*new.get(change, ("", ""))))
    assert (prepare(load_task(folder)) == first) is False
    assert (prepare(load_task(folder)).private == first.private) is (change == "unrelated")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            "(public / 'half').write_text('x')\nraise ValueError('bad table')",
            r"task\.py: prepare\(\) failed: ValueError: bad table \(line 5\)\.$",
        ),
        ("os._exit(3)", r"prepare\(\) failed: it ended without a word\.$"),
        (
            "os.symlink('/etc/passwd', public / 'link')",
            r"^prepare\(\) made public/link, which is no plain file or folder\.$",
        ),
        ("os.mkfifo(private / 'pipe')", r"^prepare\(\) made private/pipe, which is no plain file or folder\.$"),
    ],
)
def test_a_prepare_that_fails_is_one_sentence_and_leaves_nothing(tmp_path, cache, body, said):
    folder = tiny_task(tmp_path / "tiny", TOML, code(body))
    with pytest.raises(TaskError, match=said) as caught:
        prepare(load_task(folder))
    assert "\n" not in str(caught.value)
    assert list((cache / "prepared").iterdir()) == []


def test_the_place_of_the_public_files_must_be_free(tmp_path, cache):
    folder = tiny_task(tmp_path / "tiny", TOML, code("(public / 'x').write_text('x')"))
    (folder / "workspace" / "data").mkdir()
    with pytest.raises(TaskError, match=r"workspace/ may have no `data`"):
        prepare(load_task(folder))


def test_shared_graders_can_be_imported_and_the_task_folder_stays_clean(tmp_path):
    source = "from kinds import InvalidSubmission\n" + code("(public / 'x').write_text(InvalidSubmission.__module__)")
    folder = tiny_task(tmp_path / "tiny", TOML, source)
    assert (prepare(load_task(folder)).public / "x").read_text() == "kinds"
    assert sorted(path.name for path in folder.iterdir()) == ["task.py", "task.toml", "workspace"]


def test_everyone_may_read_it_under_a_private_cache(tmp_path, cache):
    body = """
os.umask(0o077)
(public / 'sub').mkdir()
(public / 'sub' / 'x').write_text('x')
(private / 'y').write_text('y')
"""
    mask = os.umask(0o077)
    try:
        prepared = prepare(load_task(tiny_task(tmp_path / "tiny", TOML, code(body))))
    finally:
        os.umask(mask)
    modes = {path.name: path.stat().st_mode & 0o777 for path in prepared.public.parent.rglob("*")}
    assert modes == {
        "public": 0o755,
        "private": 0o755,
        "sub": 0o755,
        "x": 0o644,
        "y": 0o644,
        ".made": 0o644,
        "label": 0o644,
    }
    assert prepared.public.parent.stat().st_mode & 0o777 == 0o755 and cache.stat().st_mode & 0o777 == 0o700


def test_a_source_that_cannot_be_had_gives_generated_data_that_says_so(tmp_path):
    source = f"""
[[sources]]
name = "table"
package = "shop==1.0"
member = "shop/table.csv"
sha256 = "{hashlib.sha256(b"real").hexdigest()}"
"""
    body = "path = settings['sources']['table']\n(public / 'x').write_text(open(path).read() if path else 'made up')"
    task = load_task(tiny_task(tmp_path / "tiny", "stand_in = true\n" + TOML + source, code(body)))
    said: list[str] = []
    prepared = prepare(task, say=said.append)
    assert prepared.data == "generated" and (prepared.public / "x").read_text() == "made up"
    assert len(said) == 1 and said[0].startswith(
        "tiny is made from generated data, and its results are marked so: The data package shop==1.0 "
    )
    wheel(tmp_path / "registry", "shop", {"shop/table.csv": "real"})
    show = "p = prepare(load_task(sys.argv[1])); print([p.data, (p.public / 'x').read_text()])"
    ran = subprocess.run([sys.executable, "-c", IMPORTS + show, task.folder], capture_output=True, text=True)
    assert ran.stdout == "['', 'real']\n", ran.stderr


@pytest.mark.slow
def test_killed_at_random_moments_it_can_be_prepared_again(tmp_path, cache):
    body = """
for n in range(20):
    (public / str(n)).write_text('x' * 1000)
    (private / str(n)).write_text('y')
    time.sleep(0.01)
"""
    task = load_task(tiny_task(tmp_path / "tiny", TOML, code(body)))
    program = IMPORTS + "task = load_task(sys.argv[1]); print(flush=True); prepare(task)"
    draw = random.Random(1)
    for _ in range(10):
        process = subprocess.Popen([sys.executable, "-c", program, task.folder], stdout=subprocess.PIPE)
        assert process.stdout
        process.stdout.readline()
        time.sleep(draw.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for folder in (cache / "prepared").glob("tiny-*/"):
            if "." not in folder.name:  # under its own name it is whole
                assert len(list(folder.rglob("*"))) == 44
    prepared = prepare(task)
    left = {*(cache / "prepared").iterdir()} - {prepared.public.parent}  # killed at its very end: an empty lock
    assert [path for path in left if any(path.iterdir())] == []
    assert sorted(int(path.name) for path in prepared.public.iterdir()) == list(range(20))
    assert len(list(prepared.private.iterdir())) == 20
