"""The allocator: who gets which processors and cards, in which order, and what a killed run leaves."""

import math
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from mlgym.allocator import Allocator, Room, Share, Want, cores, quota, runtime, usable

HOLDER = """
import sys, time
from pathlib import Path
from mlgym.allocator import Allocator, Want
count = float(sys.argv[2])
machine = Allocator(folder=Path(sys.argv[1]), cpus=(0, 1, 2, 3))
with machine.claim(Want(count), lambda line: print(line, flush=True)) as share:
    print(*share.cpus, flush=True)
    sys.stdin.readline()
"""


def holder(folder: Path, count: float) -> "subprocess.Popen[str]":
    """A process that claims so many of four processors, prints their numbers, and ends with its input."""
    command = [sys.executable, "-c", HOLDER, str(folder), str(count)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def said(process: "subprocess.Popen[str]") -> str:
    """Its next line."""
    assert process.stdout
    return process.stdout.readline().strip()


def end(*processes: "subprocess.Popen[str]") -> None:
    for process in processes:
        process.communicate("\n", timeout=20)


wants = st.one_of(st.integers(1, 6).map(float), st.sampled_from([0.1, 0.25, 0.3, 0.5, 0.7]))


@given(st.lists(st.tuples(wants, st.integers(0, 3)), max_size=30), st.integers(1, 8), st.integers(1, 2))
def test_no_two_holders_overlap_beyond_a_processor(asked, processors, threads):
    room = Room(dict.fromkeys(range(processors), 0.0), cores={cpu: cpu // threads for cpu in range(processors)})
    held: list[Share] = []
    for count, ends in asked:
        share, complete = room.find(Want(count), range(processors))
        if complete:
            assert len(share.cpus) == math.ceil(count) and share.processors == count
            room.take(share)
            held.append(share)
        for old in held[:ends]:
            part = old.processors if old.processors < 1 else 1.0
            room.cpus |= {cpu: room.cpus[cpu] - part for cpu in old.cpus}
        del held[:ends]
        for cpu in range(processors):
            parts = [one.processors if one.processors < 1 else 1.0 for one in held if cpu in one.cpus]
            assert sum(parts) <= 1 + 1e-6


@given(st.integers(2, 8).map(lambda n: 2 * n), st.data())
def test_no_physical_core_is_shared_while_another_is_free(processors, data):
    room = Room(
        dict.fromkeys(range(processors), 0.0), cores={cpu: cpu % (processors // 2) for cpu in range(processors)}
    )
    taken: set[int] = set()
    while len(taken) < processors // 2:
        count = data.draw(st.integers(1, 2))
        share, complete = room.find(Want(float(count)), range(processors))
        assert complete
        assert len({room.cores[cpu] for cpu in share.cpus}) == 1 and not {room.cores[cpu] for cpu in share.cpus} & taken
        taken |= {room.cores[cpu] for cpu in share.cpus}
        room.take(share)


@settings(max_examples=5)
@given(st.lists(st.sampled_from([1.0, 2.0, 3.0, 4.0, 0.5]), min_size=2, max_size=12), st.integers(0, 1000))
def test_threads_that_claim_at_random_never_overlap_and_all_get_their_turn(tmp_path_factory, counts, seed):
    folder = tmp_path_factory.mktemp("claims")
    busy, guard, wrong = dict.fromkeys(range(4), 0.0), threading.Lock(), []

    def one(count: float) -> None:
        with Allocator(folder=folder, cpus=(0, 1, 2, 3)).claim(Want(count)) as share:
            part = min(share.processors, 1.0)
            with guard:
                for cpu in share.cpus:
                    busy[cpu] += part
                wrong.extend(cpu for cpu in share.cpus if busy[cpu] > 1 + 1e-6)
            with guard:
                for cpu in share.cpus:
                    busy[cpu] -= part

    threads = [threading.Thread(target=one, args=(count,)) for count in counts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong and not any(thread.is_alive() for thread in threads)
    assert [path.name for path in folder.iterdir()] == ["lock"]


def test_processes_share_the_machine_and_a_killed_one_frees_its_part(tmp_path):
    first, second = holder(tmp_path, 2), holder(tmp_path, 2)
    assert {said(first), said(second)} == {"0 1", "2 3"}
    third = holder(tmp_path, 4)
    assert said(third).startswith("Waiting for 4 processors, which others have (process ")
    second.send_signal(signal.SIGKILL)
    end(first)
    assert said(third) == "0 1 2 3"
    end(third)
    second.communicate()


def test_a_killed_one_in_line_keeps_nobody_waiting(tmp_path):
    first = holder(tmp_path, 1)
    assert said(first) == "0"
    big = holder(tmp_path, 4)
    assert said(big).startswith("Waiting for 4 processors")
    big.send_signal(signal.SIGKILL)
    big.communicate()
    small = holder(tmp_path, 3)
    assert said(small) == "1 2 3"
    end(small, first)


def test_small_ones_cannot_overtake_a_large_one_that_waits(tmp_path):
    first = holder(tmp_path, 1)
    assert said(first) == "0"
    large = holder(tmp_path, 4)
    assert said(large).startswith("Waiting for 4 processors")
    small = holder(tmp_path, 1)  # three are free, and kept for the large one
    assert said(small).startswith("Waiting for 1 processor,")
    end(first)
    assert said(large) == "0 1 2 3"
    end(large)
    assert said(small) == "0"
    end(small)


def test_a_small_one_may_pass_where_it_takes_nothing_that_is_waited_for():
    room = Room({0: 0.5, 1: 0.7, 2: 1.0})
    share, complete = room.find(Want(0.6), range(3))
    assert not complete and share.cpus == (0,)  # the emptiest gets no fuller while a share waits
    room.take(share)
    assert room.find(Want(0.3), range(3)) == (Share((1,), 0.3), True)
    assert room.find(Want(0.4), range(3))[1] is False


def test_shares_of_one_processor(tmp_path):
    allocator = Allocator(folder=tmp_path, cpus=(0, 1))
    half = Want(0.5)
    with allocator.claim(half) as one, allocator.claim(half) as two, allocator.claim(Want(1)) as three:
        assert (one.cpus, two.cpus, three.cpus) == ((0,), (0,), (1,))
        assert (one.processors, str(one), str(three)) == (0.5, "0.5 of processor 0", "processor 1")


def test_more_than_there_is_is_given_as_much_as_there_is_and_said(tmp_path):
    notes: list[str] = []
    with Allocator(folder=tmp_path, cpus=(0, 1)).claim(Want(8), notes.append) as share:
        assert share.cpus == (0, 1)
    assert notes == ["8 processors are asked for, and this machine has 2: it gets 2."]


def test_an_interrupt_while_waiting_ends_the_wait(tmp_path):
    first = holder(tmp_path, 4)
    assert said(first) == "0 1 2 3"
    second = holder(tmp_path, 1)
    assert said(second).startswith("Waiting")
    second.send_signal(signal.SIGINT)
    assert second.wait(20) != 0
    second.communicate()
    end(first)
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_the_folder_of_the_claims_is_the_users_alone(tmp_path, monkeypatch):
    assert runtime() == Path(os.environ["MLGYM_RUNTIME"])
    monkeypatch.delenv("MLGYM_RUNTIME")
    folder = runtime()
    assert folder.stat().st_uid == os.getuid() and not folder.stat().st_mode & 0o022


def test_a_quota_of_processor_time_counts(tmp_path):
    assert quota(tmp_path) == 0 and usable(tmp_path) == sorted(os.sched_getaffinity(0))
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert quota(tmp_path) == 0
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert quota(tmp_path) == 1 and len(usable(tmp_path)) == 1
    old = tmp_path / "old"
    (old / "cpu").mkdir(parents=True)
    (old / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    (old / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert quota(old) == 0
    (old / "cpu" / "cpu.cfs_quota_us").write_text("250000\n")
    assert quota(old) == 3


def test_cores_are_read_from_the_system(tmp_path):
    for cpu, siblings in enumerate(["0,2", "1,3", "0,2", "1-3", "junk"]):
        place = tmp_path / f"cpu{cpu}" / "topology"
        place.mkdir(parents=True)
        (place / "thread_siblings_list").write_text(siblings + "\n")
    assert cores(tmp_path) == {0: 0, 1: 1, 2: 0, 3: 1}
    assert cores(tmp_path / "nothing") == {}
