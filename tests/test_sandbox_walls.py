"""Each wall of bubblewrap, taken away: the examiner must notice, or its case proves nothing."""

import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from mlgym.sandbox import SandboxSpec, launch, open_shell, places, shell
from mlgym.sandbox.bubblewrap import UNNEEDED, Bubblewrap
from mlgym.sandbox.examiner import cases, examine
from mlgym.sandbox.examiner_files import alive
from mlgym.sandbox.probe import probe

CASES = {case.name: case for case in cases()}


@pytest.fixture(autouse=True)
def works() -> None:
    """Only where bubblewrap starts."""
    tried = probe("bubblewrap")
    if not tried.works:
        assert "CI" not in os.environ, tried
        pytest.skip(f"bubblewrap does not start: {tried.why}")


def without(*options: str, extra: Sequence[str] = ()) -> type[Bubblewrap]:
    """Bubblewrap less some options (each with its arguments, as one word), plus others before all is made read-only."""

    class Weakened(Bubblewrap):
        def options(self) -> Iterator[str]:
            text = "\0".join(super().options()) + "\0"
            for option in options:
                assert f"{option}\0" in text, option
                text = text.replace(f"{option}\0", "")
            words = text.removesuffix("\0").split("\0")
            place = words.index("--remount-ro", words.index("/home/agent/workspace"))
            yield from [*words[:place], *extra, *words[place:]]

    return Weakened


def fails(case: str, backend: type[Bubblewrap], why: str) -> None:
    """The case must fail on the weakened backend, for the right reason."""
    assert examine(CASES[case], Bubblewrap).outcome == "passed"
    outcome = examine(CASES[case], backend)
    assert outcome.outcome == "failed"
    assert why in outcome.why


def unfiltered() -> type[Bubblewrap]:
    """Bubblewrap without its filter of system calls."""

    class Unfiltered(Bubblewrap):
        def options(self) -> Iterator[str]:
            words = list(super().options())
            place = words.index("--seccomp")
            yield from words[:place] + words[place + 2 :]

    return Unfiltered


def test_the_network() -> None:
    fails("walls: no network", without("--unshare-net"), "is")


def test_the_processes() -> None:
    class Shared(without("--unshare-pid", "--as-pid-1")):  # type: ignore[misc]
        pass

    fails("walls: the first process and the host's", Shared, "")


@pytest.mark.parametrize("case", ["walls: calls refused", "walls: no odd sockets"])
def test_the_filter(case: str) -> None:
    fails(case, unfiltered(), "")


@pytest.mark.parametrize("place", ["/dev", "/"])
def test_all_is_read_only(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES["walls: the rest is read-only, and bounded"]
    assert examine(case, Bubblewrap).outcome == "passed"
    monkeypatch.setattr("mlgym.sandbox.bubblewrap.free_uid", lambda: 0)  # otherwise root's folders are closed as well
    assert "can be written" in examine(case, without(f"--remount-ro\0{place}")).why


def test_the_sizes_of_temporary_folders() -> None:
    fails("walls: the rest is read-only, and bounded", without("--size\0" + str(1 << 30)), "is not bounded")


def test_the_files_of_the_host() -> None:
    folder = tempfile.gettempdir()
    fails("walls: no files of the host", without(extra=["--ro-bind", folder, folder]), "")


def test_the_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    open_places = places.places()._replace(hidden=())
    case = "walls: no packages, no mlgym, no shared data"
    assert examine(CASES[case], Bubblewrap).outcome == "passed"
    monkeypatch.setattr(places, "places", lambda: open_places)
    assert "has packages" in examine(CASES[case], Bubblewrap).why


def test_the_table_of_mounts() -> None:
    package = str(Path(places.PACKAGE))
    fails("walls: the table of mounts is neutral", without(extra=["--ro-bind", package, "/opt/x"]), "names")


def test_the_driver_is_not_dumpable(monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_text

    def dumpable(path: Path) -> str:
        return read(path).replace("libc.prctl(PR_SET_DUMPABLE", "(lambda *_: 0)(PR_SET_DUMPABLE")

    case = CASES["walls: the first process and the host's"]
    assert examine(case, Bubblewrap).outcome == "passed"
    shell.program.cache_clear()
    monkeypatch.setattr(Path, "read_text", dumpable)
    try:
        assert "/proc/1/environ can be read" in examine(case, Bubblewrap).why
    finally:
        shell.program.cache_clear()


@pytest.mark.root
def test_the_user_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlgym.sandbox.bubblewrap.free_uid", lambda: 0)
    monkeypatch.setenv("MLGYM_LIMITS", "watchdog")  # a control group counts those of user 0 too
    assert examine(CASES["walls: the number of processes"], Bubblewrap).outcome == "failed"
    assert examine(CASES["walls: no other user's rights"], Bubblewrap).outcome == "failed"


@pytest.mark.root
def test_a_killed_bwrap_takes_all_with_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def survivors(mark: str) -> list[str]:
        folder = tmp_path / mark
        folder.mkdir()
        sandbox = Bubblewrap(SandboxSpec(folder))
        sandbox.start()
        process = launch(sandbox, ["/bin/sh", "-c", f"setsid sleep {mark} & echo up; exec sleep {mark}.5"])
        assert process.stdout and process.stdin
        assert process.stdout.read(3) == b"up\n"
        while len(alive(mark)) < 2:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        end = time.monotonic() + 2
        while alive(mark) and time.monotonic() < end:
            time.sleep(0.02)
        process.stdout.close()
        process.stdin.close()
        return alive(mark)

    assert not survivors("96001")
    monkeypatch.setattr("mlgym.sandbox.bubblewrap.KEEPER", [])
    left = survivors("96002")
    for pid in left:
        with contextlib.suppress(ProcessLookupError):  # the first may have taken it along
            os.kill(int(pid), signal.SIGKILL)
    assert left


def test_the_kernels_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def seen(name: str) -> str:
        (tmp_path / name).mkdir()
        look = f"cd /proc; for f in {' '.join(UNNEEDED)}; do {{ ls -A $f/ || head -c 9 $f; }} 2>/dev/null; done"
        with open_shell("bubblewrap", SandboxSpec(tmp_path / name)) as opened:
            return opened.run(look, 10).output

    assert seen("covered") == ""
    with monkeypatch.context() as uncovered:
        uncovered.setattr("mlgym.sandbox.bubblewrap.covers", lambda cards: ())
        assert len(seen("open")) > 50
    sys_and_proc = without(extra=["--ro-bind", "/sys", "/sys"])
    fails("walls: the kernel's folders", sys_and_proc, "find /sys")
