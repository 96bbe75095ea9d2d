"""A run on a machine that is given out: what waits, what is not run, what an episode keeps of it."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mlgym.allocator import Allocator, Want, usable
from mlgym.episode import run_episode
from mlgym.errors import UsageError
from mlgym.live import run
from mlgym.records import Action, EpisodeSpec, Limits
from mlgym.store import Episode, episodes
from tests.smi import Smi

GUESS = Path(__file__).parent.parent / "examples" / "guess"
HERE = "tests.test_live" if __name__.startswith("tests.") else "test_live"
FETCH = "python3 -c \"import urllib.request as u; u.urlopen('http://{}/', timeout=9)\" 2>&1 | tail -1"


def looker(brief, model):
    """Says what the brief says of the machine, looks for itself, and submits."""
    told = " ".join(str(brief.machine[key]) for key in ("processors", "gpu", "network"))
    yield Action(tool="bash", args={"command": f"echo '{told}'; nproc; echo $OMP_NUM_THREADS; echo 41 > guess.txt"})
    yield Action(tool="submit")


def starving(brief, model):
    """Finds a card's memory used up."""
    yield Action(tool="bash", args={"command": "echo torch.OutOfMemoryError: CUDA out of memory."})
    yield Action(tool="bash", args={"command": "echo 41 > guess.txt"})


def caller(brief, model):
    """Asks for two hosts."""
    for host in ("example.org", "pypi.test"):
        yield Action(tool="bash", args={"command": FETCH.format(host)})
    yield Action(tool="submit")


def spec(agent="looker", task=GUESS, **fields):
    made = {"task": str(task), "agent": f"{HERE}:{agent}", "sandbox": "bubblewrap", "limits": Limits(steps=5), **fields}
    return EpisodeSpec.model_validate(made)


@pytest.fixture
def allocator(tmp_path):
    return Allocator(folder=tmp_path / "claims", cpus=(usable()[-1],))


@pytest.fixture
def hungry(tmp_path, monkeypatch):
    """The task guess, asking for a card with 40 GB, and a program nvidia-smi that knows one."""
    smi = Smi(tmp_path, monkeypatch)
    folder = tmp_path / "hungry"
    shutil.copytree(GUESS, folder)
    text = (folder / "task.toml").read_text()
    (folder / "task.toml").write_text(text.replace("[limits]\n", "[limits]\ngpus = 1\ngpu_memory = 40\n"))
    return smi, folder


def test_no_more_episodes_run_at_once_than_fit_and_the_others_say_that_they_wait(tmp_path, allocator, capsys):
    specs = [spec(seed=seed, processors=1.0) for seed in range(3)]
    assert run(specs, tmp_path / "run", 3, "none", allocator=allocator) == 0
    said = capsys.readouterr().err
    assert said.count("Waiting for 1 processor") == 2 and said.count(f"It has processor {usable()[-1]}.") == 3
    results = [Episode.read(folder).result for folder in episodes(tmp_path / "run")]
    assert [(result.processors, result.final) for result in results] == [(1.0, {"closeness": 0.5})] * 3


def test_shares_of_a_processor_run_side_by_side(tmp_path, allocator, capsys):
    assert (
        run([spec(seed=seed, processors=0.3) for seed in range(3)], tmp_path / "run", 3, "none", allocator=allocator)
        == 0
    )
    assert "Waiting" not in capsys.readouterr().out


def test_the_episode_and_its_grading_have_what_was_given(tmp_path, allocator):
    result = run_episode(spec(processors=8.0), tmp_path / "one", allocator=allocator)
    seen = Episode.read(tmp_path / "one").steps()[0].observation.text
    assert seen.split("\n")[:3] == ["1 none none", "1", "1"]
    assert (result.processors, result.gpus, result.network) == (1.0, (), None)
    assert result.notes == ("8 processors were asked for, and 1 given.",)
    with allocator.claim(Want(1)) as share:  # it was given back
        assert len(share.cpus) == 1


def test_a_lone_episode_is_not_governed(tmp_path, allocator):
    with allocator.claim(Want(1)):
        assert run_episode(spec(), tmp_path / "one").processors == 0


def test_what_the_machine_can_never_give_is_not_run_and_the_rest_is(tmp_path, allocator, hungry, capsys):
    smi, folder = hungry
    smi.say((24000, 24000))
    assert run([spec(task=folder), spec()], tmp_path / "run", 1, "steps", allocator=allocator) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "hungry was not run: It needs 1 graphics card with 40 GB, and of those this machine has none." in said
    assert [Episode.read(path).spec.task for path in episodes(tmp_path / "run")] == [str(GUESS)]
    with pytest.raises(UsageError, match="It needs 1 graphics card"):
        run_episode(spec(task=folder), tmp_path / "one", allocator=allocator)
    assert run([spec(task=folder)], tmp_path / "other", 1, "steps", allocator=allocator) == 1


def test_a_card_is_told_of_and_stored(tmp_path, allocator, hungry):
    smi, folder = hungry
    smi.say((80000, 80000))
    result = run_episode(spec(task=folder), tmp_path / "one", allocator=allocator)
    assert result.gpus == (0,)
    assert Episode.read(tmp_path / "one").steps()[0].observation.text.startswith("1 Card A0 (80 GB) none\n")


def test_memory_that_others_took_is_not_the_agents_fault_and_the_step_is_tried_again(tmp_path, allocator, hungry):
    smi, folder = hungry
    smi.say((80000, 80000))
    timer = threading.Event()

    def late(line):  # the foreign process comes after the card was given
        smi.say((80000, 0), held=((0, 1, 60000),))
        timer.set()

    one = spec("starving", folder)
    result = run_episode(one, tmp_path / "one", allocator=allocator, say=late)
    assert timer.is_set() and (result.scored, result.boundary, result.progress) == (False, "sandbox", None)
    assert result.why == (
        "The step ran out of memory on card 0, of which other processes hold 60000 of 80000 MB: "
        "the same command tries again."
    )
    smi.say((80000, 80000))
    again = run_episode(one, tmp_path / "one", allocator=allocator)
    assert (again.scored, again.boundary, again.steps) == (True, "", 2)


def test_saying_so_is_not_enough_to_leave_an_episode_unscored(tmp_path, allocator, hungry):
    smi, folder = hungry
    smi.say((80000, 70000), held=((0, 1, 10000), (0, os.getpid(), 70000)))
    result = run_episode(spec("starving", folder), tmp_path / "one", allocator=allocator)
    assert (result.scored, result.boundary, result.final) == (True, "", {"closeness": 0.5})


def test_what_was_asked_of_the_network_is_kept(tmp_path):
    result = run_episode(spec("caller", network=("*.pypi.test", "pypi.test:8080")), tmp_path / "one")
    assert result.network == ("*.pypi.test", "pypi.test:8080")
    assert result.notes == (
        "The network was open to *.pypi.test, pypi.test:8080: asked 2 times, refused 2 (example.org, pypi.test).",
    )
    store = Episode.read(tmp_path / "one")
    assert [(one["host"], one["port"], one["allowed"]) for one in store.asked()] == [
        ("example.org", 80, False),
        ("pypi.test", 80, False),
    ]
    assert all("403" in step.observation.text for step in store.steps()[:2])


def test_a_network_needs_a_sandbox_with_one_of_its_own(tmp_path):
    with pytest.raises(UsageError, match="The sandbox 'local' has no network of its own"):
        run_episode(spec(sandbox="local", network=()), tmp_path / "one")


@pytest.mark.parametrize("several", [1, 2])
def test_an_interrupt_while_waiting_stops_at_once(tmp_path, several):
    with Allocator().claim(Want(len(usable()))):
        command = ["run", GUESS, "-a", "nop", "-k", several, "-n", several, "-o", tmp_path / "run"]
        waiting = subprocess.Popen(
            [sys.executable, "-u", "-m", "mlgym", *map(str, command)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(several):
            assert "Waiting for 0.1 processor" in waiting.stdout.readline()
        waiting.send_signal(signal.SIGINT)
        _, stderr = waiting.communicate(timeout=30)
    assert waiting.returncode == 130 and "the same command goes on" in stderr
    assert not list(tmp_path.glob("run/*/*/*/result.json"))


def test_tasks_with_a_method_of_their_own_end_in_the_table_of_results(tmp_path, capsys):
    shutil.copytree(GUESS, tmp_path / "again")
    specs = [spec("nop", sandbox="local"), spec("oracle", tmp_path / "again", sandbox="local")]
    specs = [each.changed(agent=name) for each, name in zip(specs, ("nop", "oracle"), strict=True)]
    assert run(specs, tmp_path / "run", 1, "attempts") == 0
    assert "best attempt" in capsys.readouterr().out
    more = [*specs, specs[0].changed(agent="oracle")]
    assert run(more, tmp_path / "run", 1, "attempts") == 0
    assert "3 done of 3" in capsys.readouterr().out
