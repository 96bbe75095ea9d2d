"""What each step changes of the workspace's sources: looked at from inside, recorded, and the same after a kill."""

import hashlib
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mlgym.cli import app
from mlgym.env import ResearchEnv
from mlgym.episode import run_episode
from mlgym.errors import SandboxError
from mlgym.onward import onward
from mlgym.pack import pack
from mlgym.records import LARGE, Action, Brief, Changes, Checkpoint, EpisodeSpec, Limits, Restore, Step
from mlgym.sandbox import SandboxSpec, open_shell, scratch
from mlgym.sandbox.shell import Look, Shell
from mlgym.scrub import Here
from mlgym.store import Episode, episodes, states
from mlgym.verify import verify
from mlgym.viewer.changes import history
from mlgym.viewer.folder import Folder
from mlgym.viewer.store import Store
from mlgym.watch import CHOICE, Watch
from tests.faults import lose, mine

ROOT = Path(__file__).parent.parent
GUESS = str(ROOT / "examples" / "guess")
HERE = "tests.test_watch" if __name__.startswith("tests.") else "test_watch"
SMALL = {**CHOICE, "names": ("Makefile",)}


@pytest.fixture
def shell(backend: str, tmp_path: Path) -> Iterator[Shell]:
    """A shell in a sandbox without a task."""
    with scratch(tmp_path) as place:
        (place / "w").mkdir()
        with open_shell(backend, SandboxSpec(place / "w")) as started:
            yield started


def looker(shell: Shell, choice: dict[str, object] = SMALL) -> Callable[[], Look]:
    """Looks at the workspace, one after another; what has just been written is told twice, and left out then."""
    numbers, known = itertools.count(1), dict[str, bytes]()

    def look() -> Look:
        number = next(numbers)
        found = shell.look(number - 1, number, list(known), choice)
        new = {path: data for path, data in found.files.items() if known.get(path) != data}
        known.update(new)
        for path in found.gone:
            del known[path]
        return replace(found, files=new)

    return look


def did(shell: Shell, look: Callable[[], Look], command: str) -> tuple[dict[str, bytes], set[str]]:
    """What a command changed."""
    ran = shell.run(command, 60)
    assert ran.code == 0, ran.output
    found = look()
    assert found.whole, command
    return found.files, {*found.gone, *(f"{path} {LARGE}" for path in found.large)}


def test_a_look_tells_what_is_new(shell: Shell) -> None:
    look = looker(shell)
    many = "mkdir -p a/b data; for f in x.py a/y.sh a/b/z.json data/no.py no.csv .no.py Makefile; do echo 1 > $f; done"
    assert did(shell, look, many) == (dict.fromkeys(("Makefile", "x.py", "a/y.sh", "a/b/z.json"), b"1\n"), set())
    assert did(shell, look, "cat x.py") == ({}, set())
    assert did(shell, look, "sed -i s/1/2/ x.py") == ({"x.py": b"2\n"}, set())
    assert did(shell, look, "mv a/y.sh a/w.sh") == ({"a/w.sh": b"1\n"}, {"a/y.sh"})
    assert did(shell, look, "rm -r a") == ({}, {"a/w.sh", "a/b/z.json"})
    assert did(
        shell, look, "touch -r Makefile t; printf 3 > Makefile; printf '\\n' >> Makefile; touch -r t Makefile"
    ) == (
        {"Makefile": b"3\n"},
        set(),
    ), "times that the agent sets hide nothing"
    assert did(shell, look, "head -c 200001 /dev/zero > x.py") == ({}, {"x.py large"})
    assert did(shell, look, "printf '\\0\\377' > x.py") == ({"x.py": b"\0\xff"}, set())
    assert did(shell, look, "rm x.py; ln -s Makefile x.py; mkfifo f.py; mkdir d.py; ln -s / root; ln -s . loop") == (
        {},
        {"x.py"},
    )
    assert did(shell, look, "rm x.py; echo 4 > x.py")[0]["x.py"] == b"4\n"
    shell.run("mkdir f; echo 5 > f/x.py", 10)
    look()
    shell.run("chmod 000 f", 10)
    assert not look().gone, "what cannot be looked into is not gone"
    shell.run("chmod 700 f; rm -r f", 10)
    look()
    (everything,) = {tuple(sorted(shell.look(0, 99, [], SMALL).files))}
    assert everything == ("Makefile", "x.py"), "a look that is not known of tells all"


def test_writes_in_one_tick_of_the_clock_are_told_apart(shell: Shell) -> None:
    """As fast as can be: files of one size, and times that may be the same."""
    look = looker(shell)
    for n in range(100):
        shell.write("x.py", f"{n:03}".encode())
        assert look().files == {"x.py": f"{n:03}".encode()}
        shell.write(f"new{n % 2}.py", b"")
        assert f"new{n % 2}.py" in look().files or n > 1


def test_what_is_written_through_memory_is_seen(shell: Shell) -> None:
    """A file that a process has mapped changes without a new time, once the page is dirty."""
    script = """
import mmap, time
file = open('x.py', 'r+b')
memory = mmap.mmap(file.fileno(), 0)
memory[0:1] = b'b'
open('ready', 'w').close()
while not __import__('os').path.exists('go'): time.sleep(0.01)
memory[0:1] = b'c'
open('done', 'w').close()
time.sleep(60)
"""
    look = looker(shell)
    shell.write("x.py", b"aaa")
    shell.write("w.txt", script.encode())
    shell.run("python3 w.txt >/dev/null 2>&1 & while ! [ -e ready ]; do sleep 0.05; done; sleep 0.2", 10)
    assert look().files["x.py"] == b"baa"
    shell.run("touch go; while ! [ -e done ]; do sleep 0.05; done", 10)
    assert look().files["x.py"] == b"caa"


def test_hostile_names_are_left_out(shell: Shell) -> None:
    look = looker(shell)
    names = [b"new\nline.py", b"\xe2\x80\xaebidi.py", b"\xff.py", b"\x1b[31m.py", b"...py", b"-rf.py", b"a b'\".py"]
    names += [b"n" * 250 + b".py", "ünï→.py".encode()]
    for name in names:
        script = f"import sys; open(bytes.fromhex({name.hex()!r}), 'w').write('1')"
        assert shell.exec(["python3", "-c", script], cwd=shell.workspace).code == 0
    assert set(look().files) == {"-rf.py", "a b'\".py", "n" * 250 + ".py", "ünï→.py"}
    shell.run("d=$(printf 'd%.0s' $(seq 100)); mkdir -p $d/$d/$d; echo 1 > $d/x.py; echo 1 > $d/$d/$d/x.py", 10)
    assert set(look().files) == {"d" * 100 + "/x.py"}, "a path has at most 255 bytes"


@pytest.mark.slow
def test_a_million_things_are_bounded(shell: Shell) -> None:
    """Too many files, folders and bytes: a part is told, in time, and what is known does not get lost."""
    look = looker(shell)
    assert did(shell, look, "echo 1 > a.py; echo 1 > zz.py")[0] == {"a.py": b"1\n", "zz.py": b"1\n"}
    made = "import os\nfor n in range(10_000):\n    open(f'f{n}.py', 'w').close()\n    n % 20 or os.mkdir(f'd{n}')"
    assert shell.exec(["python3", "-c", made], cwd=shell.workspace).code == 0
    time.sleep(0.05)
    for _ in range(2):
        began = time.monotonic()
        found = look()
        assert not found.whole and len(found.files) <= CHOICE["files"] and not found.gone
        assert time.monotonic() - began < 5
    shell.run("rm zz.py", 10)
    assert look().gone == ("zz.py",), "what is known is looked for also where there is too much"
    shell.run("rm f*.py; rmdir d*; for i in $(seq 30); do head -c 190000 /dev/zero > $i.txt; done", 60)
    found = look()
    assert not found.whole and sum(map(len, found.files.values())) <= CHOICE["bytes"]
    shell.run("rm *.txt", 10)
    assert look().whole


@pytest.mark.slow
def test_an_agent_that_races_a_look(shell: Shell) -> None:
    """Files that grow, vanish and become links while they are looked at: no look fails or takes long."""
    race = """
import os, time
end = time.time() + 4
while time.time() < end:
    for n in range(20):
        open(f'{n}.py', 'w').write('x' * (n * 9000))
        os.makedirs('a/b', exist_ok=True)
        open('a/b/c.py', 'w').write('1')
        os.rename('a', 'c'); os.symlink('/etc', 'a'); os.unlink('a'); os.rename('c', 'a')
        os.unlink(f'{n}.py'); os.mkfifo(f'{n}.py'); os.unlink(f'{n}.py')
"""
    shell.write("race.txt", race.encode())
    shell.run("python3 race.txt >/dev/null 2>&1 &", 10)
    look, end = looker(shell), time.monotonic() + 3
    while time.monotonic() < end:
        found = look()
        assert all(len(data) <= CHOICE["largest"] for data in found.files.values())
        assert not [path for path in found.files if path.startswith("a/") and path != "a/b/c.py"], "no link is followed"
    assert shell.run("wait; echo fine", 30).output == "fine\n"


class Watched:
    """An environment with a Watch, and what the workspace really holds."""

    def __init__(self, backend: str, folder: Path) -> None:
        self.env = ResearchEnv(GUESS, sandbox=backend)
        self.env.reset(seed=0)
        made = EpisodeSpec(task=GUESS, agent="nop", sandbox=backend)
        self.store = Episode.open(folder, made)
        self.watch = Watch(self.store, self.env)
        self.watch.begin(0)

    def truth(self) -> dict[str, str]:
        """The sources as another program finds them."""
        script = "find . -name '*.py' -o -name '*.txt' | grep -v ./data/ | sort | xargs -r sha256sum"
        rows = self.env.session.shell.exec(["bash", "-c", script]).output.splitlines()
        return {row[66:].removeprefix("./"): row[:64] for row in rows}


def folded(records: list[Changes]) -> list[dict[str, str]]:
    """The states that the records tell of, by their numbers."""
    out = list[dict[str, str]]()
    for record, _, after in states(records, lambda _, digest: digest):
        out += [out[-1]] * (record.n - len(out)) if out else []
        out.append({path: digest for path, digest in after.items() if digest})
    return out


def test_recorded_changes_lead_from_the_starter_to_each_state(tmp_path: Path, backend: str) -> None:
    """Any row of changes: what is recorded, laid over the starter, is what the workspace holds after each step."""
    watched, chance, truths = Watched(backend, tmp_path), random.Random(3), list[dict[str, str]]()
    truths.append(watched.truth())
    names = ["guess.py", "a.py", "b.txt", "sub/c.py", "sub/deep/d.py"]
    for n in range(1, 26):
        one, other = chance.sample(names, 2)
        command = chance.choice(
            [
                f"mkdir -p sub/deep; echo {n} > {one}",
                f"mkdir -p sub/deep; cat > {one} <<'EOF'\n{n}\nEOF",
                f"sed -i 's/^/{n % 10}/' {one}",
                f"mv {one} {other}",
                f"cp {one} {other}",
                f"rm -f {one}",
                "rm -rf sub",
                f"ln -sf /etc/passwd {one}; rm {one}",
                "true",
            ]
        )
        watched.env.session.shell.run(command, 10)
        watched.watch.record(n, ())
        truths.append(watched.truth())
    records = watched.store.changes()
    found = folded(records)
    assert found + [found[-1]] * (len(truths) - len(found)) == truths
    for record in records[1:]:
        for path, digest in record.files.items():
            before = truths[record.n - 1].get(path)
            for each in filter(None, (digest, before)):
                assert watched.store.intact(each), "a changed file is there as it was and as it is"
    watched.store.close()
    watched.env.close()


def test_a_look_that_fails_fails_nothing(tmp_path: Path) -> None:
    watched = Watched("bubblewrap", tmp_path)
    watched.env.session.shell.run("echo 1 > a.py", 10)
    watched.watch.record(1, ())
    watched.env.session.shell.stop()
    for n in (2, 3):
        watched.watch.record(n, ())
    _, first, second = watched.store.changes()
    assert first.whole and list(first.files) == ["a.py"]
    assert second == Changes(n=2, whole=False), "said once"
    with pytest.raises(SandboxError):
        watched.env.session.shell.run("true", 10)
    watched.store.close()
    watched.env.close()


def test_what_is_followed_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that push each other out of a look do not gather without end."""
    monkeypatch.setattr("mlgym.watch.KNOWN", 10)
    watched = Watched("bubblewrap", tmp_path)
    watched.env.session.shell.run("touch {1..30}.py", 10)
    watched.watch.record(1, ())
    assert len(watched.watch.known) == 10 and not watched.store.changes()[-1].whole
    watched.env.session.shell.run("rm [12]?.py", 10)
    watched.watch.record(2, ())
    assert set(watched.watch.known) == {"guess.py", "guess.txt", "30.py", *(f"{n}.py" for n in range(1, 8))}
    watched.env.session.shell.run("rm [0-9]*.py; touch a.py", 10)
    watched.watch.record(3, ())
    assert set(watched.watch.known) == {"guess.py", "guess.txt", "a.py"} and watched.store.changes()[-1].whole
    watched.store.close()
    watched.env.close()


def test_contents_of_an_episode_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlgym.watch.KEPT", 3 * 4096)  # a small file counts as what it takes of a disk
    watched = Watched("bubblewrap", tmp_path)
    for n in range(1, 6):
        watched.env.session.shell.run(f"printf '%0100d' {n} > a.py", 10)
        watched.watch.record(n, ())
    told = [change.files["a.py"] for change in watched.store.changes()[1:]]
    assert len(set(told)) == 5, "that it changed is told still"
    assert [watched.store.intact(digest) for digest in told] == [True] * 3 + [None] * 2
    watched.store.close()
    watched.env.close()


def test_more_and_more_files_stay_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """New names at each step, in front of those that a look has no room for: not all are asked for for ever."""
    monkeypatch.setattr("mlgym.watch.KNOWN", 500)
    watched = Watched("bubblewrap", tmp_path)
    for n in range(1, 5):
        watched.env.session.shell.run(f"for i in $(seq 200); do echo {n}$i > {9 - n}$i.py; done", 20)
        watched.watch.record(n, ())
        assert len(watched.watch.known) <= 500
    assert not watched.store.changes()[-1].whole
    watched.env.session.shell.run("rm ?*.py; echo 1 > last.py", 20)
    watched.watch.record(5, ())
    watched.watch.record(6, ())
    assert watched.watch.known.keys() == watched.truth().keys()
    assert watched.store.changes()[-1].whole
    watched.store.close()
    watched.env.close()


def test_what_was_gone_back_from_and_is_made_again_is_seen(tmp_path: Path) -> None:
    watched = Watched("bubblewrap", tmp_path)
    shell = watched.env.session.shell
    for n, (number, marks) in enumerate(((1, ()), (2, ("+a",)), (2, ("-a",))), 1):
        shell.run(f"echo {number} > a.py", 10)
        watched.watch.record(n, marks)
    assert [change.files for change in watched.store.changes()[1:]][-1] == {"a.py": sha(b"2\n")}
    watched.store.close()
    watched.env.close()


def bash(command: str) -> Action:
    return Action(tool="bash", args={"command": command})


def worker(brief: Brief, model: object):  # type: ignore[no-untyped-def]
    """Changes files in many ways, and goes back once."""
    yield bash("echo 20 > guess.txt")
    yield Action(tool="create", args={"path": "new.py", "content": "print(1)\n"})
    yield Checkpoint(name="here")
    yield bash("sed -i s/1/2/ new.py; mv guess.py old.py")
    yield Action(tool="validate")
    yield Restore(name="here")
    yield bash("cat new.py")
    yield bash("echo 40 > guess.txt")
    yield Action(tool="submit")


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def spec(backend: str, agent: str = "worker") -> EpisodeSpec:
    return EpisodeSpec(task=GUESS, agent=f"{HERE}:{agent}", sandbox=backend, limits=Limits(steps=12))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An episode of `worker` in a run."""
    folder = tmp_path_factory.mktemp("watched") / "run" / "guess" / "worker" / "0"
    run_episode(spec("bubblewrap"), folder)
    return folder


def test_an_episode_records_what_its_steps_changed(recorded: Path) -> None:
    starter = {name: sha((Path(GUESS) / "workspace" / name).read_bytes()) for name in ("guess.py", "guess.txt")}
    one, two = sha(b"print(1)\n"), sha(b"print(2)\n")
    assert Episode.read(recorded).changes() == [
        Changes(n=0, files=starter),
        Changes(n=1, files={"guess.txt": sha(b"20\n")}),
        Changes(n=2, files={"new.py": one}),
        Changes(n=3, files={"guess.py": "", "new.py": two, "old.py": starter["guess.py"]}, marks=("+here",)),
        Changes(n=5, marks=("-here",)),
        Changes(n=6, files={"guess.txt": sha(b"40\n")}),
    ]
    found = folded(Episode.read(recorded).changes())
    assert found[5] == found[2] and "old.py" not in found[5]


def test_each_sandbox_records_the_same(recorded: Path, tmp_path: Path, backend: str) -> None:
    result = run_episode(spec(backend), tmp_path)
    assert result.ended == "submitted" and not result.why
    assert Episode.read(tmp_path).changes() == Episode.read(recorded).changes()


@pytest.mark.slow
@pytest.mark.parametrize("at", [1, 3, 5])
def test_after_a_kill_the_records_are_the_same(recorded: Path, tmp_path: Path, at: int) -> None:
    """The process is killed after a step, with a record of the next one that was on its way."""
    code = (
        "import os, signal, sys; from pathlib import Path; from mlgym.episode import run_episode\n"
        "from mlgym.records import EpisodeSpec\n"
        f"def kill(step, attempt):\n    if step.n == {at}: os.kill(os.getpid(), signal.SIGKILL)\n"
        "run_episode(EpisodeSpec.model_validate_json(sys.argv[1]), Path(sys.argv[2]), on_step=kill)"
    )
    made = spec("bubblewrap")
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT), str(ROOT / "tests")])
    argv = [sys.executable, "-c", code, made.model_dump_json(), str(tmp_path)]
    ended = subprocess.run(argv, env={**os.environ, "PYTHONPATH": path}, timeout=120)
    assert ended.returncode == -signal.SIGKILL and len(Episode.read(tmp_path).steps()) == at
    with (tmp_path / "changes.jsonl").open("a") as file:
        file.write(Changes(n=at + 1, files={"guess.txt": ""}).model_dump_json() + "\n" + '{"n": 9')
    result = run_episode(made, tmp_path)
    assert result.ended == "submitted" and result.steps == 7
    assert Episode.read(tmp_path).changes() == Episode.read(recorded).changes()


@pytest.mark.slow
def test_after_a_lost_sandbox_the_records_are_the_same(recorded: Path, tmp_path: Path) -> None:
    others = mine()

    def kill(step: Step, attempt: object) -> None:
        if step.n in (2, 5):
            lose(others)

    result = run_episode(spec("bubblewrap"), tmp_path, on_step=kill)
    assert result.ended == "submitted" and sum("set up again" in note for note in result.notes) == 2
    assert Episode.read(tmp_path).changes() == Episode.read(recorded).changes()


def test_an_episode_begun_without_it_goes_on_without_it(recorded: Path, tmp_path: Path) -> None:
    folder = tmp_path / "e"
    shutil.copytree(recorded, folder)
    (folder / "changes.jsonl").unlink()
    (folder / "result.json").unlink()
    steps = (folder / "steps.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "steps.jsonl").write_bytes(b"".join(steps[:3]))
    assert run_episode(spec("bubblewrap"), folder).ended == "submitted"
    assert Episode.read(folder).changes() == []


def test_what_goes_on_has_the_changes_before_it(recorded: Path, tmp_path: Path) -> None:
    made = onward(f"{recorded}@3")
    run_episode(made, tmp_path)
    before, after = Episode.read(recorded), Episode.read(tmp_path)
    assert after.changes() == before.changes()
    told = {digest for change in after.changes()[1:] for digest in change.files.values() if digest}
    assert all(after.intact(digest) for digest in told)


def test_packed_verified_and_compact(recorded: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(recorded.parents[2], run)
    episode = Episode.read(run / recorded.relative_to(recorded.parents[2]))
    packed = pack(run, tmp_path / "run.gz", Here()).file
    assert not verify(packed, grade=False).difference
    episode.file(episode.changes()[0].files["guess.txt"]).write_bytes(b"3\n")
    found = verify(pack(run, tmp_path / "other.gz", Here()).file, grade=False)
    assert "step 0: the stored guess.txt" in found.difference
    assert episode.result
    kept = episode.result.attempts[-1:]
    episode.compact(kept)
    assert {path.name for path in (episode.folder / "attempts/files").iterdir()} == {
        digest for attempt in kept for digest in {**attempt.files, **attempt.code}.values()
    }
    assert not episode.changes() and not (episode.folder / "changes.jsonl").exists()


def test_show_tells_what_a_step_changed(recorded: Path) -> None:
    def show(*options: str) -> str:
        return CliRunner().invoke(app, ["show", str(recorded), *options]).output

    told = show("--step", "3", "--diff")
    assert told.startswith("--- before/guess.py\n+++ /dev/null\n") and "--- /dev/null\n+++ step 3/old.py\n" in told
    assert "--- before/new.py\n+++ step 3/new.py\n@@ -1 +1 @@\n-print(1)\n+print(2)\n" in told
    assert show("--step", "3").endswith(told) and "sed -i" in show("--step", "3")
    assert show("--step", "5", "--diff") == "Step 5 changed no sources.\n"
    for wrong in ("0", "8"):
        assert CliRunner().invoke(app, ["show", str(recorded), "--step", wrong]).exit_code


def test_retraced_files_are_those_that_were_recorded(recorded: Path, tmp_path: Path) -> None:
    """Where nothing was recorded, what was written and seen leads to the same files, as far as it is known."""
    run = tmp_path / "run"
    shutil.copytree(recorded.parents[2], run)
    (folder,) = episodes(run)
    (folder / "changes.jsonl").unlink()
    exact, told = (history(Folder(store, *store.keys)) for store in (Store([recorded]), Store([folder])))
    assert exact.exact and not told.exact
    for n in range(8):
        left, right = exact.after(n), told.after(n)
        sure = {name for name in right if name in left and f"changed {name}" not in told.note(n)}
        assert {name: left[name].read() for name in sure} == {name: right[name].read() for name in sure}
        assert ("new.py" in sure) == (n in (2, 4, 5, 6, 7)), "known where it was written, printed or graded"
