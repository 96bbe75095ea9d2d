"""The limits of a sandbox: by the watchdog where no control group does it, and each case without its defence."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mlgym.sandbox import Meter, SandboxLimits, SandboxSpec, cgroups, open_shell, shell, victims, watch_disk
from mlgym.sandbox.bubblewrap import Bubblewrap
from mlgym.sandbox.examiner import cases, examine
from mlgym.sandbox.probe import probe
from mlgym.sandbox.scratch import named
from mlgym.sandbox.trees import Process, below, processes

CASES = {case.name.removeprefix("limits: "): case for case in cases() if case.name.startswith("limits: ")}
OF_MEMORY = ("memory of a whole tree", "files without names in memory", "temporary files in memory")
GROUPED = pytest.mark.skipif(not cgroups.own(), reason="no control groups can be made here")


@pytest.fixture(autouse=True)
def works() -> None:
    """Only where bubblewrap starts."""
    tried = probe("bubblewrap")
    if not tried.works:
        assert "CI" not in os.environ, tried
        pytest.skip(f"bubblewrap does not start: {tried.why}")


@pytest.fixture
def watchdog(monkeypatch: pytest.MonkeyPatch) -> None:
    """No control groups, as for most ordinary users."""
    monkeypatch.setenv("MLGYM_LIMITS", "watchdog")


@pytest.mark.parametrize("name", [*OF_MEMORY, "a fork bomb is told", "processor seconds"])
def test_the_watchdog_alone(name: str, watchdog: None) -> None:
    outcome = examine(CASES[name], Bubblewrap)
    assert outcome.outcome == "passed", outcome.why


class Blind:
    """A meter that watches over nothing."""

    def hit(self) -> str:
        return ""

    def cpu_s(self) -> float:
        return 0.0

    def close(self) -> None:
        pass


class Unwatched(Bubblewrap):
    """Bubblewrap without a watch."""

    def meter(self, pid: int) -> Meter:
        return Blind()


@pytest.mark.slow
@pytest.mark.parametrize("name", [*OF_MEMORY[:2], "disk", "a fork bomb is told", "processor seconds"])
def test_nothing_is_bounded_without_the_watch(name: str, watchdog: None) -> None:
    outcome = examine(CASES[name], Unwatched)
    assert outcome.outcome == "failed"
    assert any(why in outcome.why for why in ("not stopped", "a fork bomb is called", "counts as 0.00")), outcome.why


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "part", "nothing"),
    [
        ("temporary files in memory", "measure.temporary", lambda *_: 0),
        ("files without names in memory", "measure.held", lambda _: []),
        ("deleted files that are open", "measure.held", lambda _: []),
        ("disk", "victims.end", lambda *_: None),
    ],
)
def test_each_part_of_the_watchdog_is_needed(
    name: str, part: str, nothing: Callable[..., object], watchdog: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"mlgym.sandbox.{part}", nothing)
    monkeypatch.setattr(watch_disk, "end", victims.end)
    assert "it was not stopped" in examine(CASES[name], Bubblewrap).why


@pytest.mark.parametrize(
    ("name", "defence", "without"),
    [
        ("output and time are told", "output.total > self.most", "False"),
        ("the driver is no victim", 'self.chosen(b"0")', "pass"),
    ],
)
def test_the_drivers_own_part(name: str, defence: str, without: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_text

    def weakened(path: Path) -> str:
        return read(path).replace(defence, without)

    assert examine(CASES[name], Bubblewrap).outcome == "passed"
    shell.program.cache_clear()
    monkeypatch.setattr(Path, "read_text", weakened)
    try:
        assert examine(CASES[name], Bubblewrap).outcome == "failed"
    finally:
        shell.program.cache_clear()


@GROUPED
def test_groups_are_made_below_ones_own_and_go_with_the_sandbox(tmp_path: Path) -> None:
    def groups() -> set[Path]:
        return {each for home in cgroups.own().values() for each in home.glob("s-*") if str(os.getpid()) in each.name}

    before = groups()
    with open_shell("bubblewrap", SandboxSpec(tmp_path)) as opened:
        assert len(groups() - before) == len(set(cgroups.own().values()))
        assert "s-" not in opened.run("cat /proc/self/cgroup", 5).output
    assert groups() == before


@GROUPED
def test_groups_of_dead_processes_are_swept() -> None:
    homes = set(cgroups.own().values())
    code = "import os; from mlgym.sandbox import cgroups, SandboxLimits; g = cgroups.Group.make(SandboxLimits()); "
    code += "print(*set(map(str, g.folders.values())), flush=True); os._exit(0)"
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {Path(each).parent for each in made} == homes
    assert all(Path(each).exists() for each in made)
    mine = [home / named() for home in homes]
    for each in mine:
        each.mkdir()
    cgroups.own.cache_clear()
    cgroups.own()
    assert not any(Path(each).exists() for each in made)
    assert all(each.exists() for each in mine)
    cgroups.remove(*mine)


V1 = "3:memory:/box\n2:pids:/\n1:cpu,cpuacct:/box\n0::/\n"
V1_MOUNTS = """30 24 0:26 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory
31 24 0:27 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
32 24 0:28 /box /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
33 24 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""
V2_MOUNTS = "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n"


def test_the_own_group_is_found_in_both_versions() -> None:
    homes = cgroups.parse(V1, V1_MOUNTS)
    assert {name: str(home) for name, home in homes.items()} == {
        "memory": "/sys/fs/cgroup/memory/box",
        "pids": "/sys/fs/cgroup/pids",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
    }
    assert cgroups.parse("0::/user.slice/x.scope\n", V2_MOUNTS) == {
        "unified": Path("/sys/fs/cgroup/user.slice/x.scope")
    }
    assert cgroups.parse("1:name=systemd:/\n", V2_MOUNTS) == {}
    assert cgroups.parse("0::/other\n", V2_MOUNTS.replace(" / /sys", " /box /sys")) == {}


def test_the_files_of_version_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a folder that stands for the kernel's: no kernel of version 2 with memory was at hand."""
    made = Path.mkdir

    def kernel(path: Path) -> None:
        made(path)
        for name in ("memory.max", "memory.swap.max", "memory.oom.group", "pids.max"):
            (path / name).touch()
        (path / "memory.events").write_text("low 0\noom 2\noom_kill 3\noom_group_kill 0\n")
        (path / "pids.events").write_text("max 7\n")
        (path / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1\n")

    monkeypatch.setattr(Path, "mkdir", kernel)
    folder = tmp_path / named()
    group = cgroups.Group({"memory": folder, "pids": folder}, SandboxLimits(memory_mb=64, processes=9))
    written = {name: (folder / name).read_text() for name in ("memory.max", "memory.swap.max", "pids.max")}
    assert written == {"memory.max": "67108864\n", "memory.swap.max": "0\n", "pids.max": "9\n"}
    assert (group.ooms(), group.refusals(), group.cpu_s()) == (3, 7, 1.5)
    assert group.entry()[-1] == str(folder)


def test_a_group_that_hands_nothing_on_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "cgroup.subtree_control").write_text("cpu memory pids\n")
    assert cgroups.delegated(tmp_path) == tmp_path
    (tmp_path / "cgroup.subtree_control").write_text("cpu\n")
    (tmp_path / "cgroup.subtree_control").chmod(0o400)
    (tmp_path / "cgroup.procs").write_text("1\n2\n")
    if os.geteuid():
        with pytest.raises(OSError):
            cgroups.delegated(tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_what_is_measured_is_all_that_is_there_and_no_link(tmp_path: Path) -> None:
    from mlgym.sandbox import measure

    (tmp_path / "work").mkdir()
    (tmp_path / "outside").write_bytes(b"x" * 4_000_000)
    (tmp_path / "work" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "work" / "folder").symlink_to(tmp_path)
    (tmp_path / "work" / "file").write_bytes(b"x" * 1_000_000)
    os.link(tmp_path / "work" / "file", tmp_path / "work" / "again")
    deep = tmp_path / "work"
    for _ in range(300):
        deep = deep / "deep"
        deep.mkdir()
    (deep / "last").write_bytes(b"x" * 500_000)
    closed = tmp_path / "work" / "closed"
    closed.mkdir()
    (closed / "file").write_bytes(b"x" * 700_000)
    closed.chmod(0)
    total = sum(measure.disk([tmp_path / "work"]))
    assert 2_200_000 <= total <= 2_200_000 + 330 * 4096


def test_only_what_is_below_the_driver_may_be_ended() -> None:
    def process(pid: int, parent: int) -> Process:
        return Process(pid, parent, 0, 0.0, 1, 0)

    table = {each.pid: each for each in map(process, (1, 2, 3, 4, 5, 6), (0, 1, 2, 3, 4, 3))}
    tree = below(2, table)
    assert {each.pid for each in tree} == {2, 3, 4, 5, 6}
    assert {each.pid for each in victims.others(tree, 3)} == {4, 5, 6}
    assert {each.pid for each in victims.others(tree, 0)} == {3, 4, 5, 6}
    assert victims.others([], 3) == []


def test_a_number_that_another_process_has_got_is_spared() -> None:
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        found = processes()[sleeper.pid]
        victims.end(found._replace(started=found.started - 1))
        assert sleeper.poll() is None
        victims.end(found)
        assert sleeper.wait(10) == -9
