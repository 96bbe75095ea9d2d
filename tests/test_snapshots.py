"""Snapshots of a sandbox and forks of an environment, with layers and with copies."""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlgym import disk
from mlgym.cache import cache_dir
from mlgym.env import ResearchEnv
from mlgym.errors import SandboxError, UsageError
from mlgym.records import Limits
from mlgym.sandbox import Bind, SandboxSpec, choose, layers, open_shell, snapshots
from mlgym.sandbox.examiner import Case, Place, Skipped
from mlgym.sandbox.examiner_walls import WALLS
from mlgym.sandbox.probe import probe
from mlgym.sandbox.shell import Shell
from mlgym.sandbox.snapshots import Shelf
from mlgym.wrappers import Limited, Progress

GUESS = Path(__file__).parent.parent / "examples" / "guess"
HOWS = ("overlay", "copy")


class World:
    """A shell, and the shelf for its snapshots."""

    def __init__(self, shelf: Shelf, shell: Shell, stack: contextlib.ExitStack) -> None:
        self.shelf, self.shell, self.stack = shelf, shell, stack

    def fork(self, saved: snapshots.Snapshot) -> Shell:
        """Another shell at a snapshot."""
        shell = self.shelf.branch(self.shell, saved)
        self.stack.callback(self.shelf.discard, shell)
        return shell


@pytest.fixture(params=HOWS)
def how(request: pytest.FixtureRequest, backend: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """With layers, on what has them, and with copies."""
    how = str(request.param)
    if how == "overlay":
        if backend != "bubblewrap" or not layers.marks(cache_dir()):
            assert backend != "bubblewrap" or "CI" not in os.environ
            pytest.skip(f"{backend} has no layers here")
    else:
        monkeypatch.setattr(layers, "marks", lambda place: "")
    return how


@pytest.fixture
def world(how: str, backend: str, tmp_path: Path) -> Iterator[World]:
    source = tmp_path / "data"
    source.mkdir()
    (source / "table.csv").write_text("1,2\n")
    tmp_path.chmod(0o755)
    shelf = Shelf(tmp_path)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(shelf.held()) / "workspace"
        folder.mkdir()
        spec = SandboxSpec(folder, binds=(Bind(source, "/home/agent/workspace/data"),))
        shell = stack.enter_context(open_shell(backend, spec))
        yield World(shelf, shell, stack)
        assert not list(shelf.folder.rglob("table.csv")) or backend == "local", "the data was copied"


def says(shell: Shell, command: str) -> str:
    """What a command prints."""
    ran = shell.run(command, 60)
    assert ran.status == "ok", ran
    return ran.output


SETUP = r"""
mkdir -p a/b/c 'odd name' closed; echo one >a/b/file; echo two >gone; echo run >a/run; chmod 751 a/run; chmod 2750 a/b
ln -s ../a/b/file a/link; ln -s /nowhere dangling; ln a/b/file hard; mkfifo -m 600 fifo; : >'odd name/new
line'; printf 'x' >"$(printf 'bad\377')"; touch -d '2001-02-03 04:05:06.789' a/b/file; echo hidden >.hidden
truncate -s 3G sparse; echo end >>sparse; echo shut >closed/f; chmod 0 closed/f; chmod 500 closed; chmod 0 gone
"""
TREE = r"""
find . -name data -prune -o -type d -printf '%p %m\n' -o -printf '%p %y %m %s %n %l\n' | sort | md5sum
find . -type f -printf '%p %T@\n' | sort; cat data/table.csv; chmod u+r gone closed/f
find . -name data -prune -o -name sparse -prune -o -type f -print0 | sort -z | xargs -0 md5sum; chmod 0 gone closed/f
tail -c 4 sparse; du -k sparse | cut -f1; stat -c %i a/b/file hard | uniq | wc -l
"""


def test_every_kind_of_file_comes_back_as_it_was(world: World) -> None:
    says(world.shell, SETUP)
    before = says(world.shell, TREE)
    saved = world.shelf.snapshot(world.shell)
    assert says(world.shell, TREE) == before
    says(
        world.shell,
        "chmod -R u+rwx closed; rm -r a closed sparse; mkdir a; echo 2 >a/other; rm gone; echo 3 >gone/x; ls -A",
    )
    changed = says(world.shell, "find . | sort")
    fork = world.fork(saved)
    assert says(fork, TREE) == before
    assert says(world.shell, "find . | sort") == changed, "the fork has changed the episode that it was made from"
    world.shelf.restore(world.shell, saved)
    assert says(world.shell, TREE) == before


def test_a_link_out_of_the_workspace_is_saved_as_a_link(world: World, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("canary-8731")
    says(world.shell, f"ln -s {secret} file; ln -s {tmp_path} folder; mkdir d; ln -s ../../.. d/up")
    saved = world.shelf.snapshot(world.shell)
    fork = world.fork(saved)
    assert says(fork, "readlink file folder d/up") == f"{secret}\n{tmp_path}\n../../..\n"
    kept = [path for path in world.shelf.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert not [path for path in kept if b"canary" in path.read_bytes()]


def test_what_was_deleted_stays_deleted(world: World) -> None:
    says(world.shell, "mkdir d; touch d/old f keep")
    world.shelf.snapshot(world.shell)
    says(world.shell, "rm -r d f; mkdir d; touch d/new")
    saved = world.shelf.snapshot(world.shell)
    for shell in (world.shell, world.fork(saved)):
        assert says(shell, "find d f keep 2>/dev/null") == "d\nd/new\nkeep\n"


STATE = r"""
x=5; export Y=$'a\nb "c" $d'; declare -i n=7; list=(one 'two three' ''); declare -A map=([k]=v ['a b']='c d')
declare -n ref=x; readonly fixed=1; declare -ar frozen=(1 2); unset LANG; f() { echo "f has $x and $1"; }; export -f f
g() { local v=1; cat <<END
here $v
END
}
alias ll='ls -a' g2=g; shopt -s extglob nullglob; umask 027; trap 'echo bye' USR1
mkdir -p 'in here/deep'; ln -s 'in here' way
cd way/deep; set -uo pipefail -C; _own=1; set -f; IFS=:; (exit 3)
"""
TOLD = r"""
echo "$? $x $n ${list[1]} ${#list[@]} ${map[k]} ${map[a b]} $ref $fixed ${frozen[1]} $_own ${LANG-none}"
printf '%q\n' "$IFS"; f me; g; ll; g2; umask; trap -p; pwd; pwd -P; shopt extglob nullglob; echo $-
set -o | grep -e noclobber -e pipefail; bash -c 'f "$Y"'; env | grep -v _= | grep -v ^TMPDIR | sort
declare -p Y n ref fixed frozen; cd - >/dev/null; cd ~-
"""


def test_the_shell_goes_on_as_it_was(world: World) -> None:
    says(world.shell, STATE.replace("(exit 3)", "") + TOLD)
    expected = says(world.shell, "(exit 3)") + says(world.shell, TOLD)
    assert "f has 5 and me" in expected and expected.startswith("3 5 7 two three 3 v c d 5 1 2 1 none")
    says(world.shell, "(exit 3)")
    saved = world.shelf.snapshot(world.shell)
    assert says(world.shell, TOLD) == expected
    before = snapshots.places(world.shell)

    def told(shell: Shell) -> str:
        text = says(shell, TOLD)
        for old, new in sorted(zip(before, snapshots.places(shell), strict=True), key=lambda pair: -len(pair[1])):
            text = text.replace(new, old)
        return text

    says(world.shell, "x=6; unset -f f; unalias ll; cd /; set +u; unset map; export Z=1")
    assert told(world.fork(saved)) == expected
    world.shelf.restore(world.shell, saved)
    assert told(world.shell) == expected


def test_errexit_does_not_stand_in_the_way(world: World) -> None:
    says(world.shell, "x=1; set -e")
    saved = world.shelf.snapshot(world.shell)
    for shell in (world.shell, world.fork(saved)):
        assert says(shell, "echo $x; case $- in *e*) echo still;; esac") == "1\nstill\n"


def test_a_shell_that_fights_back_loses_only_its_own_state(world: World) -> None:
    says(world.shell, "echo kept >file; builtin() { kill -9 $$; }; alias declare='exit 1'; x=1")
    saved = world.shelf.snapshot(world.shell)
    assert saved.state is None
    for shell in (world.shell, world.fork(saved)):
        assert says(shell, "cat file; echo ${x-nothing}") == "kept\nnothing\n"


def test_what_runs_in_the_background_ends(world: World) -> None:
    says(world.shell, "(trap '' TERM HUP INT; setsid sh -c 'while :; do echo >>ticks; sleep 0.01; done') & sleep 0.1")
    saved = world.shelf.snapshot(world.shell)
    count = "wc -l <ticks"
    assert says(world.shell, f"jobs; {count}; sleep 0.2; {count}").split()[0] == says(world.shell, count).strip()
    assert says(world.fork(saved), "jobs; pgrep -f '>>tick[s]'") == ""


def test_siblings_know_nothing_of_each_other(world: World) -> None:
    says(world.shell, "echo 0 >f; x=0")
    saved = world.shelf.snapshot(world.shell)
    shells = [world.shell, *(world.fork(saved) for _ in range(4))]
    threads = [
        threading.Thread(target=says, args=(shell, f"for i in $(seq 50); do echo {n} >>f; echo >only-{n}; done; x={n}"))
        for n, shell in enumerate(shells)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n, shell in enumerate(shells):
        assert says(shell, "sort -u f; ls only-*; echo $x") == ("" if n == 0 else "0\n") + f"{n}\nonly-{n}\n{n}\n"


def test_forks_of_forks_ten_deep(world: World) -> None:
    shell, trail = world.shell, ""
    for n in range(10):
        says(shell, f"echo {n} >>trail; echo {n} >f{n}; rm -f f{n - 3}; depth={n}")
        trail += f"{n}\n"
        shell = world.fork(world.shelf.snapshot(shell))
        assert (
            says(shell, "cat trail; ls f*; echo $depth")
            == trail + "".join(f"f{k}\n" for k in range(max(0, n - 2), n + 1)) + f"{n}\n"
        )


def test_a_snapshot_can_be_gone_back_to_again_and_again(world: World) -> None:
    says(world.shell, "echo 1 >f; x=1")
    first = world.shelf.snapshot(world.shell)
    says(world.shell, "echo 2 >>f; x=2; cd /")
    second = world.shelf.snapshot(world.shell)
    for saved, text in ((first, "1\n1\n"), (first, "1\n1\n"), (second, "1\n2\n2\n"), (first, "1\n1\n")):
        world.shelf.restore(world.shell, saved)
        assert says(world.shell, f"cat {world.shell.workspace}/f; echo $x") == text
        world.shell.run("cd ~; rm -rf workspace/f; x=broken; kill -9 $$", 10)


def test_after_a_timeout(world: World) -> None:
    says(world.shell, 'x=1; cd /tmp; echo 1 >~/workspace/f || echo 1 >"$OLDPWD/f"')
    ran = world.shell.run(f"x=2; echo 2 >>{world.shell.workspace}/f; sleep 100", 0.3)
    assert ran.status == "timeout"
    saved = world.shelf.snapshot(world.shell)
    fork = world.fork(saved)
    assert says(fork, f"cat {fork.workspace}/f; echo $x; pwd") == "1\n2\n2\n/tmp\n"


def test_a_lost_sandbox_comes_back(world: World) -> None:
    says(world.shell, "echo 1 >f; x=1")
    saved = world.shelf.snapshot(world.shell)
    world.shell.stop()
    with pytest.raises(SandboxError):
        world.shelf.snapshot(world.shell)
    world.shelf.restore(world.shell, saved)
    assert says(world.shell, "cat f; echo $x") == "1\n1\n"


@pytest.mark.slow
def test_thousands_of_files(world: World) -> None:
    says(world.shell, "for d in $(seq 30); do mkdir d$d; for f in $(seq 100); do echo $d $f >d$d/f$f; done; done")
    saved = world.shelf.snapshot(world.shell)
    says(world.shell, "rm -r d?")
    count = "cat d*/f* | sort | md5sum; find d[0-9]* -type f | wc -l"
    expected = says(world.fork(saved), count)
    assert expected.endswith("\n3000\n")
    world.shelf.restore(world.shell, saved)
    assert says(world.shell, count) == expected


def test_nothing_is_left(how: str, backend: str, tmp_path: Path) -> None:
    shelf, other = Shelf(tmp_path), None
    with shelf.held() as place:
        (place / "workspace").mkdir()
        with open_shell(backend, SandboxSpec(place / "workspace")) as shell:
            says(shell, "mkdir -p a/b; chmod 0 a/b; head -c 1000000 /dev/urandom >f")
            saved = shelf.snapshot(shell)
            other = shelf.branch(shell, saved)
            held = shelf.held()
            held.__enter__()
    assert says(other, "wc -c <f") == "1000000\n", "the fork has lost what it stands on"
    shelf.discard(other)
    held.__exit__(None, None, None)
    assert list(tmp_path.iterdir()) == []
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


def test_more_than_the_disk_may_hold_is_not_saved(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "marks", lambda place: "")
    monkeypatch.setattr(snapshots, "MB", 1000)
    shelf = Shelf(tmp_path)
    with shelf.held() as place:
        (place / "workspace").mkdir()
        with open_shell(backend, SandboxSpec(place / "workspace")) as shell:
            says(shell, "head -c 20000000 /dev/zero | tr '\\0' x >f; x=1")
            with pytest.raises(SandboxError, match="more in it than may be saved"):
                shelf.snapshot(shell)
            assert says(shell, "wc -c <f") == "20000000\n"


def test_no_overlay_is_said_to_work_where_none_can_be_mounted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(layers, "MOUNT", "exit 125")
    assert not layers.works(tmp_path, layers.MARKS[0])


class Layered(Place):
    """Where a case is tried in sandboxes that stand on layers."""

    @contextlib.contextmanager
    def shell(self, variables: dict[str, str] | None = None, **limits: int) -> Iterator[Shell]:
        """A started shell, after a snapshot."""
        shelf = Shelf(self.folder)
        with shelf.held(), super().shell(variables, **limits) as shell:
            shelf.snapshot(shell)
            assert shell.sandbox.spec.layers
            yield shell


@pytest.mark.parametrize("case", WALLS, ids=lambda case: case.name)
def test_the_walls_stand_on_layers_too(case: Case, tmp_path: Path) -> None:
    if not probe("bubblewrap").works or not layers.marks(cache_dir()):
        assert "CI" not in os.environ
        pytest.skip("there are no layers here")
    with contextlib.suppress(Skipped):
        case.examine(Layered(choose("bubblewrap"), tmp_path))


@pytest.fixture
def env(how: str, backend: str) -> Iterator[ResearchEnv]:
    env = ResearchEnv(GUESS, sandbox=backend, limits=Limits(steps=30, command_s=30))
    env.reset(seed=1)
    yield env
    env.close()


def seen(env: ResearchEnv, actions: list[str]) -> list[str]:
    """What the environment says to these actions."""
    return [env.step(action)[0].replace(env.session.shell.workspace, "WORKSPACE") for action in actions]


BEFORE = ["x=3; mkdir sub; cd sub; echo 30 >../guess.txt", "validate", "seq $x | tee numbers; echo $RANDOM >/dev/null"]
AFTER = [
    "ls -A .. | grep -v data; cat numbers; pwd",
    "echo $((x++)) $x >>numbers; cat numbers",
    "echo 40 >../guess.txt",
    "validate",
    "cd ..; rm -r sub; ls",
    "submit",
]


def test_a_fork_goes_on_to_the_same_observations(env: ResearchEnv) -> None:
    plain = ResearchEnv(GUESS, sandbox=env.backend.name, limits=env.limits)
    plain.reset(seed=1)
    expected = seen(plain, BEFORE + AFTER)
    plain.close()
    before = seen(env, BEFORE)
    fork = env.fork(env.snapshot())
    assert before + seen(env, AFTER) == expected
    assert before + seen(fork, AFTER) == expected
    assert [a.validation for a in fork.attempts.made] == [a.validation for a in env.attempts.made]
    fork.close()


def test_counters_never_go_back(how: str, backend: str) -> None:
    inner = ResearchEnv(GUESS, sandbox=backend, limits=Limits(steps=5, command_s=30))
    env = Progress(Limited(inner))
    env.reset(seed=1)
    env.step("echo 30 >guess.txt")
    start = inner.snapshot()
    env.step("validate")
    inner.restore(start)
    _, _, _, _, info = env.step("validate")
    assert info["observation"]["steps_left"] == 2 and info["attempt"]["n"] == 1
    assert len(inner.attempts.made) == 2
    env.step("true")
    _, _, _, truncated, info = env.step("true")
    assert truncated and info["final"]["n"] == 2
    with pytest.raises(UsageError, match="has ended"):
        inner.restore(start)
    env.close()


def test_the_tools_remember(how: str, backend: str) -> None:
    env = ResearchEnv(GUESS, sandbox=backend, tools="classic")
    env.reset(seed=1)
    env.step("open guess.py")
    opened = env.snapshot()
    env.step("create other.py")
    assert "Open file: " + env.session.shell.workspace + "/other.py" in env.step("pwd")[0]
    fork = env.fork(opened)
    env.restore(opened)
    for each in (env, fork):
        assert "/guess.py)" in each.step("pwd")[0]
    fork.close()
    env.close()


def test_a_fork_outlives_its_parent(env: ResearchEnv) -> None:
    env.step("echo 40 >guess.txt; head -c 3000000 /dev/urandom >big")
    env.step("validate")
    fork = env.fork(env.snapshot())
    env.close()
    fork.step("rm guess.txt")
    again = fork.fork(fork.snapshot())
    assert "3000000" in again.step("wc -c big; ls")[0]
    _, _, terminated, _, info = again.step("submit")
    assert terminated and info["final"]["fallback"], "the parent's attempt cannot stand in any more"
    again.close()
    assert "3000000" in fork.step("wc -c big")[0]
    fork.close()


def test_snapshots_are_asked_for_by_name(env: ResearchEnv) -> None:
    with pytest.raises(UsageError, match="no snapshot 'none' of this episode; there are: none"):
        env.restore("none")
    name = env.snapshot()
    with pytest.raises(UsageError, match=f"there are: {name}"):
        env.fork("none")
    fresh = ResearchEnv(GUESS, sandbox="local")
    with pytest.raises(UsageError, match="call reset"):
        fresh.snapshot()
    fresh.close()


@pytest.mark.root
def test_a_fork_keeps_the_user_number_and_others_have_their_own(env: ResearchEnv, how: str) -> None:
    if env.backend.name != "bubblewrap":
        pytest.skip("only sandboxes of root's have user numbers of their own")
    fork = env.fork(env.snapshot())
    assert (seen(env, ["id -u"]) == seen(fork, ["id -u"])) == (how == "overlay")
    fork.close()


def test_no_place_of_the_host_is_told_by_layers(env: ResearchEnv, how: str) -> None:
    if how != "overlay":
        pytest.skip("there are no layers")
    env.snapshot()
    mounts = env.step("grep overlay /proc/self/mountinfo")[0]
    assert "lowerdir=" in mounts and str(cache_dir()) not in mounts.partition("lowerdir=")[2]


@pytest.mark.slow
def test_a_gigabyte_is_not_copied_for_a_fork(env: ResearchEnv, how: str) -> None:
    if how != "overlay":
        pytest.skip("copies are copies")
    write = "for i in 0 1 2 3 4; do head -c 200000000 /dev/zero | tr '\\0' $i >big$i; done; wc -c big*"
    assert "1000000000 total" in seen(env, [write])[0]
    before = seen(env, BEFORE)
    folder = env.session.shell.sandbox.spec.folder.parent
    taken = disk.taken(folder)
    fork = env.fork(env.snapshot())
    assert disk.taken(folder) - taken < 1_000_000
    after = ["md5sum ../big3", *AFTER]
    observations = seen(env, after)
    assert observations == seen(fork, after) and before and "big3" in observations[0]
    fork.close()
