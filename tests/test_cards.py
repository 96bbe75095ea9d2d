"""Cards: what nvidia-smi says, who gets which, what a sandbox is shown of them. No real card was ever seen here."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mlgym.allocator import Allocator, Share, Want
from mlgym.cards import Card, cards, descends, minor
from mlgym.errors import UsageError
from mlgym.sandbox import SandboxSpec, choose, nvidia, variables
from tests.smi import Smi


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Smi:
    return Smi(tmp_path, monkeypatch)


def test_a_machine_without_the_program_or_with_a_broken_one_has_no_cards(smi, tmp_path, monkeypatch):
    assert cards() == []  # it fails: its files are missing
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cards() == []


def test_cards_and_who_holds_their_memory(smi):
    smi.say((80000, 79000), (24000, 1000), held=((0, os.getpid(), 600), (1, 1, 22000), (1, os.getppid(), 800)))
    first, second = cards()
    assert first == Card(0, "GPU-0-uuid", "Card A0", 80000, 79000, ((os.getpid(), 600),))
    assert (first.foreign_mb(), second.foreign_mb()) == (0, 22800)
    (smi.folder / "held").write_text("GPU-0-uuid, [N/A], [N/A]\nnonsense\n\n")
    assert cards()[0].held == ((0, 0),)


def test_what_this_process_started_is_not_foreign():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert descends(child.pid, os.getpid()) and not descends(os.getpid(), child.pid)
    child.communicate()
    assert not descends(child.pid, os.getpid())


def test_the_device_file_is_the_drivers_number_not_the_index(tmp_path, monkeypatch):
    card = Card(0, "GPU-0-uuid", "A", 1, 1)
    monkeypatch.setattr("mlgym.cards.DRIVER", tmp_path)
    assert minor(card) == 0
    for number, uuid in ((3, "GPU-0-uuid"), (0, "GPU-1-uuid")):
        place = tmp_path / f"0000:0{number}:00.0"
        place.mkdir()
        (place / "information").write_text(f"Model: \t\t A\nGPU UUID: \t {uuid}\nDevice Minor: \t {number}\n")
    assert minor(card) == 3


def test_who_asks_for_no_card_gets_none_and_needs_no_program(tmp_path):
    with Allocator(folder=tmp_path, cpus=(0,)).claim(Want(1)) as share:
        assert share.gpus == ()


def test_each_card_goes_to_one_and_a_full_one_to_nobody(smi, tmp_path):
    smi.say((80000, 80000), (80000, 30000), (24000, 24000), held=((1, 1, 50000),))
    allocator = Allocator(folder=tmp_path / "claims", cpus=(0, 1, 2, 3))
    with (
        allocator.claim(Want(1, 1, 40)) as one,
        allocator.claim(Want(1, 1)) as two,
        allocator.claim(Want(1, 1)) as three,
    ):
        assert (one.gpus, two.gpus, three.gpus) == ((0,), (1,), (2,))
        assert (one.promised_mb, two.promised_mb) == (40000, 30000)
        assert str(one) == "processor 0, cards 0"


def test_one_waits_for_a_card_until_a_foreign_process_has_left_it(smi, tmp_path):
    smi.say((80000, 20000), held=((0, 1, 60000),))
    got: list[Share] = []
    said = threading.Event()

    def one() -> None:
        with Allocator(folder=tmp_path / "claims", cpus=(0,)).claim(Want(1, 1, 60), lambda _: said.set()) as share:
            got.append(share)

    thread = threading.Thread(target=one)
    thread.start()
    assert said.wait(20) and not got
    smi.say((80000, 80000))
    thread.join(20)
    assert [share.gpus for share in got] == [(0,)]


@pytest.mark.parametrize(
    ("gpus", "want", "why"),
    [
        ("", Want(1, 3), "It needs 3 graphics cards, and of those this machine has 2."),
        ("", Want(1, 2, 40), "It needs 2 graphics cards with 40 GB, and of those this machine has 1."),
        ("", Want(1, 1, 100), "It needs 1 graphics card with 100 GB, and of those this machine has none."),
        ("none", Want(1, 1), "It needs 1 graphics card, and of those that --gpus none allows this machine has none."),
        (
            "1",
            Want(1, 1, 40),
            "It needs 1 graphics card with 40 GB, and of those that --gpus 1 allows this machine has none.",
        ),
        ("1", Want(1, 1), ""),
        ("0,1", Want(1, 2), ""),
        ("none", Want(1), ""),
        ("", Want(1), ""),
    ],
)
def test_what_can_never_be_is_said_at_once(smi, tmp_path, gpus, want, why):
    smi.say((80000, 100), (24000, 100))
    allocator = Allocator(gpus, tmp_path / "claims", (0,))
    assert allocator.impossible(want) == why
    if why:
        with pytest.raises(UsageError, match=f"^{why}$"), allocator.claim(want):
            """Never reached."""


def test_named_cards_go_to_those_that_ask_for_none_too(smi, tmp_path):
    smi.say((80000, 80000), (24000, 24000))
    for named, given in (("1", (1,)), ("all", (0,)), ("none", ()), ("", ())):
        with Allocator(named, tmp_path / "claims", (0,)).claim(Want(1)) as share:
            assert share.gpus == given
    for wrong in ("gpu0", "0;1", "-1", "0,"):
        with pytest.raises(UsageError, match="--gpus is none, all, or numbers"):
            Allocator(wrong)


def test_a_share_is_starved_only_where_others_took_what_was_promised(smi):
    share = Share((0,), 1.0, (0,), 40000)
    smi.say((80000, 0), held=((0, os.getpid(), 80000),))
    assert share.starved() == ""  # all of it is our own
    smi.say((80000, 0), held=((0, 1, 30000), (0, os.getpid(), 50000)))
    assert share.starved() == ""  # there was still what was promised
    smi.say((80000, 0), held=((0, 1, 50000), (0, os.getpid(), 30000)))
    assert share.starved() == "card 0, of which other processes hold 50000 of 80000 MB"
    assert Share((0,), 1.0).starved() == ""


def test_a_sandbox_with_cards_is_shown_their_device_files(smi, tmp_path):
    smi.say((80000, 80000), (80000, 80000))
    options = list(nvidia.options((1,)))
    bound = [options[i + 1] for i, option in enumerate(options) if option == "--dev-bind-try"]
    assert "/dev/nvidia1" in bound and "/dev/nvidia0" not in bound
    assert {"/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-caps"} < set(bound)
    assert options[-3:] == ["--ro-bind-try", "/sys", "/sys"]
    spec = SandboxSpec(tmp_path, gpus=(1,))
    given = variables(spec, "/home", "/opt/env")
    assert (given["CUDA_VISIBLE_DEVICES"], given["CUDA_DEVICE_ORDER"]) == ("GPU-1-uuid", "PCI_BUS_ID")
    assert "CUDA_VISIBLE_DEVICES" not in variables(SandboxSpec(tmp_path), "/home", "/opt/env")
    mounts = list(choose("bubblewrap")(spec).mounts())
    assert mounts.index("/dev/nvidia1") > mounts.index("--dev")
    assert list(nvidia.options(())) == []


def test_a_sandbox_starts_where_the_device_files_are_missing(smi, tmp_path):
    from mlgym.sandbox import open_shell

    smi.say((80000, 80000))
    (tmp_path / "workspace").mkdir()
    with open_shell("bubblewrap", SandboxSpec(tmp_path / "workspace", gpus=(0,))) as shell:
        assert shell.run("echo $CUDA_VISIBLE_DEVICES; ls -d /sys/devices", 20).output == "GPU-0-uuid\n/sys/devices\n"
