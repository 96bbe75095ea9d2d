"""The weaker backends, `user` for root and `landlock` for others: break-ins, each with its defence switched off too."""

import contextlib
import os
import secrets
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlgym.grading.forgeries import run_forgeries
from mlgym.grading.prepare import prepare
from mlgym.sandbox import Sandbox, SandboxSpec, choose, landlock, open_shell, scratch, seccomp, uids, weak
from mlgym.sandbox.examiner import cases, examine
from mlgym.sandbox.examiner_apart import daemon
from mlgym.sandbox.examiner_files import alive, gone
from mlgym.sandbox.probe import probe
from mlgym.sandbox.user import User
from mlgym.task import load_task

CASES = {case.name: case for case in cases()}
NAME = "user" if os.geteuid() == 0 else "landlock"
OPEN = ("nothing elsewhere is read", "nothing elsewhere is written")
ordinary = pytest.mark.skipif(os.geteuid() == 0, reason="landlock is for ordinary users")


@pytest.fixture(autouse=True)
def works() -> None:
    """Only where the backend starts."""
    tried = probe(NAME)
    if not tried.works:
        pytest.skip(f"{NAME} does not start: {tried.why}")


def why(case: str, backend: type[Sandbox] | None = None) -> str:
    """What the case says of the backend, empty where it passes."""
    outcome = examine(CASES[case], backend or choose(NAME))
    assert outcome.outcome != "skipped", outcome.why
    return outcome.why


def all_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Landlock lets everything through; its scopes stay, without which `kill -1` would reach too far."""
    monkeypatch.setattr(weak, "system", lambda: (("/", weak.ALL),))


def no_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every system call is let through."""
    everything = struct.pack("<HBBI", seccomp.RETURN, 0, 0, seccomp.ALLOW)
    monkeypatch.setattr(seccomp, "program", lambda **_: everything)


def changed_text(monkeypatch: pytest.MonkeyPatch, old: str, new: str) -> None:
    """The first program without one of its lines."""
    text = weak.text()
    assert text.count(old) == 1, old
    monkeypatch.setattr(weak, "text", lambda: text.replace(old, new))


@pytest.mark.skipif(not weak.version(), reason="this kernel has no Landlock")
@pytest.mark.parametrize("case", OPEN)
def test_without_its_list_of_places_the_host_is_read_and_written(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not why(f"apart: {case}")
    all_places(monkeypatch)
    assert why(f"apart: {case}")


@pytest.mark.parametrize("case", ["walls: no network", "walls: no odd sockets", "walls: calls refused"])
def test_without_the_filter_there_are_sockets_and_calls(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not why(case)
    no_filter(monkeypatch)
    assert why(case)


@ordinary
def test_without_the_filter_modes_of_others_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    no_filter(monkeypatch)
    assert "was changed" in why("apart: nothing elsewhere is written")


SHARED = """
import ctypes
libc = ctypes.CDLL(None)
key = libc.shmget(0x{key}, 4096, 0o1666)
print("refused" if key < 0 else "made")
libc.shmctl(key, 0, None)
"""


def test_no_shared_memory_by_numbers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code = SHARED.format(key=secrets.token_hex(3))
    for wanted in ("refused\n", "made\n"):
        folder = tmp_path / wanted.strip()
        folder.mkdir()
        with open_shell(NAME, SandboxSpec(folder)) as shell:
            assert shell.exec([shell.sandbox.interpreter, "-c", code]).output == wanted
        no_filter(monkeypatch)


def test_a_driver_that_keeps_nothing_back_is_killed_by_what_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    case = "walls: the driver cannot be hurt"
    assert not why(case)
    if NAME == "user":
        number = weak.text().count('lower(user, about["keeper"])')
        assert number == 1
        changed_text(monkeypatch, 'lower(user, about["keeper"])', "lower(user, user)")
    else:
        changed_text(monkeypatch, "        else:\n            restrict(scope)\n", "")
    assert why(case)


@pytest.mark.parametrize("undertaken", [True, False])
def test_the_undertaker_ends_what_a_killed_driver_left(
    undertaken: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if not undertaken:
        changed_text(monkeypatch, "            bury(about, watched)\n", "            pass\n")
    mark = f"94{secrets.randbelow(10**7):07}"
    try:
        with open_shell(NAME, SandboxSpec(tmp_path)) as shell:
            daemon(shell, mark)
            assert len(alive(mark)) >= 2
            assert shell._process
            shell._process.kill()
            shell._process.wait()
            if undertaken:
                gone(mark)
            else:
                time.sleep(0.3)
                assert alive(mark)
    finally:
        for pid in alive(mark):
            os.kill(int(pid), signal.SIGKILL)


def test_where_the_host_could_be_signalled_nothing_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if NAME == "user":
        changed_text(monkeypatch, "    if not user:\n        return\n    for", "    return\n    for")
        monkeypatch.setattr(weak, "domain", lambda _: ())
    else:
        monkeypatch.setattr(weak, "domain", lambda _: ())
    changed_text(monkeypatch, "    scope = -1 if user else ruleset(0, 0, SIGNALS, [])\n", "    scope = -1\n")
    with pytest.raises(Exception, match="ended by itself"):
        open_shell(NAME, SandboxSpec(tmp_path)).start()


@pytest.mark.root
def test_closed_folders_keep_what_is_shown_to_one_from_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ajar(User):
        def start(self) -> None:
            super().start()
            for name in ("shown", "home", "home/workspace"):
                (self._place / name).chmod(0o755)

    case = "apart: what is shown to one"
    all_places(monkeypatch)
    assert not why(case)
    assert "by another sandbox" in why(case, Ajar)


@pytest.mark.root
def test_what_a_dead_host_left_running_is_swept(tmp_path: Path) -> None:
    uid = (1 << 29) + secrets.randbelow(1 << 20)
    argv = ["setpriv", "--reuid", str(uid), "--clear-groups", "sleep", "300"]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL) as process:
        while list(uids.owned([uid])) != [process.pid]:
            time.sleep(0.01)
        for owner, code in ((f"{os.getpid()}-{started(os.getpid())}", None), ("999999999-1", -signal.SIGKILL)):
            home = tmp_path / f"s-{owner}-{pids()}-{secrets.token_hex(6)}" / "home"
            home.mkdir(parents=True)
            os.chown(home, uid, uid)
            uids.sweep(tmp_path)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0 if code is None else 10)
            assert process.returncode == code


def started(pid: int) -> int:
    """When a process began, as names of folders have it."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def pids() -> int:
    """The number of this space of process numbers."""
    return Path("/proc/self/ns/pid").stat().st_ino


@pytest.mark.root
def test_folders_and_users_are_gone_at_the_end_and_the_workspace_is_back(tmp_path: Path) -> None:
    work = tmp_path / "workspace"
    work.mkdir()
    (work / "given.txt").write_text("given")
    with open_shell("user", SandboxSpec(work)) as shell:
        uid = int(shell.run("echo made >made.txt; echo x >/dev/shm/left-$(id -u); id -u", 5).output)
        place = Path(shell.workspace)
        assert place.is_dir() and work.is_symlink() and uid >= 1 << 29
    assert not place.exists() and not Path(f"/dev/shm/left-{uid}").exists()
    assert not list(uids.owned([uid]))
    assert {path.name for path in work.iterdir()} == {"given.txt", "made.txt"}


@pytest.fixture
def listening() -> Iterator[Path]:
    """A socket of the host's, as a desktop or a container's engine has them."""
    with scratch(Path("/tmp")) as folder, socket.socket(socket.AF_UNIX) as server:
        path = folder.with_name(f"listening-{secrets.token_hex(4)}")
        server.bind(str(path))
        server.listen()
        path.chmod(0o777)
        try:
            yield path
        finally:
            path.unlink()


@ordinary
def test_sockets_of_the_host_are_not_reached_by_their_paths(
    listening: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code = f"import socket; socket.socket(socket.AF_UNIX).connect({str(listening)!r}); print('reached')"
    assert str(listening) in set(landlock.sockets())
    for number, wanted in enumerate((False, True)):
        (tmp_path / str(number)).mkdir()
        with open_shell(NAME, SandboxSpec(tmp_path / str(number))) as shell:
            assert ("reached" in shell.exec([shell.sandbox.interpreter, "-c", code]).output) is wanted
        monkeypatch.setattr(landlock, "sockets", lambda: iter(()))


@ordinary
def test_only_harmless_modes_are_set(tmp_path: Path) -> None:
    with open_shell(NAME, SandboxSpec(tmp_path)) as shell:
        ran = shell.run("touch f; stat -c %a f; chmod +x f; stat -c %a f; chmod 777 f && stat -c %a f; cp -p f g", 5)
        assert (ran.output, ran.code) == ("600\n700\n700\n", 0)


def test_names_in_hidden_folders_can_be_listed_their_files_not_read(tmp_path: Path) -> None:
    (tmp_path / "lib" / "packages" / "deep").mkdir(parents=True)
    (tmp_path / "lib" / "other").mkdir()
    hidden = [tmp_path / "lib" / "packages"]
    rules = dict(weak.without(tmp_path, hidden))
    assert rules == {
        str(tmp_path): weak.READ_FOLDER,
        str(tmp_path / "lib"): weak.READ_FOLDER,
        str(tmp_path / "lib" / "other"): weak.USE,
    }
    assert dict(weak.without(tmp_path / "lib" / "other", hidden)) == {str(tmp_path / "lib" / "other"): weak.USE}


@pytest.mark.slow
def test_no_forgery_scores() -> None:
    outcomes = list(run_forgeries(prepare(load_task("battle-of-sexes")), NAME))
    assert len(outcomes) > 10
    assert not [outcome for outcome in outcomes if outcome.scored]
