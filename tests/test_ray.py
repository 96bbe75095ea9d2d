"""Launching on a cluster of Ray: two nodes of this machine, one of which does not see the run's folder."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlgym.beside import cancel
from mlgym.errors import UsageError
from mlgym.launchers import on_ray
from mlgym.records import EpisodeSpec
from mlgym.store import episode_folder
from tests.jobs import spec
from tests.nodes import ROOT, SETTINGS, Nodes, apart, workers
from tests.test_launchers import alive, eventually

pytest.importorskip("ray", reason="Ray is not installed: pip install 'mlgym-env[ray]'")

DRIVER = """
import json, sys, time
from pathlib import Path
from mlgym.bench import RunEpisode
from mlgym.errors import MlgymError
from mlgym.launchers import cluster, on_ray
from mlgym.records import EpisodeSpec
from tests.jobs import Writes
cluster.FETCH_S, cluster.PATIENCE_S = 0.5, 6.0
kind = {"RunEpisode": RunEpisode, "Writes": Writes}[sys.argv[1]]
specs = [EpisodeSpec.model_validate_json(text) for text in json.loads(sys.argv[3])]
say = lambda spec, note: print("SAID", spec.agent, spec.seed, note, flush=True)
try:
    for spec, outcome in on_ray(say=say)(kind(Path(sys.argv[2])), specs):
        print("DONE", spec.agent, spec.seed, outcome.model_dump_json(), flush=True)
except MlgymError as error:
    sys.exit(str(error))
"""


class Driver:
    """A program that runs specs on the cluster."""

    def __init__(self, nodes: Nodes, run: Path, specs: list[EpisodeSpec], kind: str = "Writes", **env: object) -> None:
        told = json.dumps([spec.model_dump_json() for spec in specs])
        run.mkdir(parents=True)
        self.out, self.errors = (run.with_name(f"{run.name}.{name}") for name in ("out", "errors"))
        with self.out.open("w") as out, self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", "-c", DRIVER, kind, str(run), told],
                env={**nodes.settings(), **{key: str(value) for key, value in env.items()}},
                stdout=out,
                stderr=errors,
            )

    def end(self) -> str:
        """What it has said on standard error when it has ended."""
        self.process.wait(100)
        return self.errors.read_text()

    def told(self, word: str) -> list[tuple[str, int, str]]:
        """Agent, seed and the rest of the lines that begin with this word."""
        lines = [line.split(" ", 3) for line in self.out.read_text().splitlines()]
        return sorted((agent, int(seed), text) for first, agent, seed, text in lines if first == word)


@pytest.fixture(scope="module")
def hidden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the second node does not see."""
    return tmp_path_factory.mktemp("hidden")


@pytest.fixture(scope="module")
def nodes(hidden: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    if os.geteuid() != 0:
        pytest.skip("needs the rights of user 0, to have a node that sees other folders")
    nodes = Nodes(1)
    try:
        nodes.add(1, before=apart(hidden))
        yield nodes
    finally:
        nodes.close()


def test_nobody_listens_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^No Ray cluster was found at 127\.0\.0\.1:9: start one with 'ray start"):
        list(on_ray(address="127.0.0.1:9")(print, [spec(0)]))  # type: ignore[arg-type]


@pytest.mark.slow
def test_what_a_node_without_the_folder_did_is_sent_back(nodes: Nodes, hidden: Path) -> None:
    run = hidden / "sent"
    driver = Driver(nodes, run, [spec(seed, agent) for seed in range(2) for agent in ("nop", "die1")])
    assert driver.end() == ""
    done = driver.told("DONE")
    assert [row[:2] for row in done] == [(agent, seed) for agent in ("die1", "nop") for seed in range(2)]
    assert [row[:2] for row in driver.told("SAID")] == [("die1", seed) for seed in range(2)]
    places = set()
    for agent, seed, text in done:
        folder = episode_folder(run, spec(seed, agent))
        assert (folder / "result.json").read_text() == text
        assert len((folder / "steps.jsonl").read_text().split()) == json.loads(text)["steps"] == 1 + (agent == "die1")
        places.add(json.loads(text)["source"] == str(run))
    assert places == {True, False}
    assert [path.name for path in run.iterdir()] == ["blotto"]


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_the_driver(nodes: Nodes, hidden: Path, sign: signal.Signals) -> None:
    run, specs = hidden / sign.name, [spec(seed, "sleep") for seed in range(2)]
    driver = Driver(nodes, run, specs)

    def pids() -> list[int]:
        return [pid for node in nodes.nodes for pid in workers(node)]

    assert eventually(lambda: len(pids()) == 2, 30)
    begun = pids()
    assert eventually(lambda: len(list(run.rglob("asleep"))) == 2, 30)  # one of them was fetched
    driver.process.send_signal(sign)
    assert "Error" not in driver.end()
    assert eventually(lambda: not any(map(alive, begun)), 20)
    if sign == signal.SIGINT:
        assert len(list(run.rglob("tidied"))) == 2  # also that of the node without the folder


def asking(folder: Path, cards: int) -> EpisodeSpec:
    """An episode of a task that asks for so many cards."""
    shutil.copytree(ROOT / "tests" / "number", folder)
    about = folder / "task.toml"
    about.write_text(about.read_text().replace("[limits]\n", f"[limits]\ngpus = {cards}\n"))
    return spec(0, task=str(folder))


@pytest.mark.slow
def test_cards_are_given_and_what_no_machine_has_is_said(nodes: Nodes, hidden: Path, tmp_path: Path) -> None:
    """The cards are Ray's word alone: it counts what it was told, and the job gets their numbers."""
    driver = Driver(nodes, hidden / "cards", [asking(tmp_path / "one", 1), asking(tmp_path / "two", 2)])
    lacks = "The cluster has no machine with 2 graphics cards now."
    assert driver.end() == f"{lacks} {tmp_path / 'two'} needs it: leave it out, or have such a machine join.\n"
    assert [json.loads(text)["python"] for _, _, text in driver.told("DONE")] == ["0"]
    assert [text for _, _, text in driver.told("SAID")] == [f"{lacks} It waits for one."]


@pytest.mark.slow
def test_what_is_said_in_the_run_s_folder_is_heard_everywhere(nodes: Nodes, hidden: Path) -> None:
    run = hidden / "cancelled"
    driver = Driver(nodes, run, [spec(seed, "obey") for seed in range(2)])
    assert eventually(lambda: len(list(run.rglob("steps.jsonl"))) == 2, 30)
    cancel(run)
    assert driver.end() == ""
    places = {json.loads(text)["why"] == str(run) for _, _, text in driver.told("DONE")}
    assert places == {True, False}


@pytest.mark.slow
def test_another_version_is_told(nodes: Nodes, hidden: Path, tmp_path: Path) -> None:
    about = tmp_path / "mlgym_env-0.0.9.dist-info" / "METADATA"
    about.parent.mkdir()
    about.write_text("Metadata-Version: 2.1\nName: mlgym-env\nVersion: 0.0.9\n")
    path = f"{tmp_path}:{nodes.settings()['PYTHONPATH']}"
    said = Driver(nodes, hidden / "version", [spec(0)], PYTHONPATH=path).end()
    assert said == f"The machine {socket.gethostname()} has mlgym 0.1.0, this one 0.0.9: install the same on all.\n"


@pytest.mark.slow
def test_a_lost_node_s_episodes_run_again_and_nothing_is_left() -> None:
    """In small what benchmarks/nodes.py measures: real episodes, and a node that loses its power."""
    command = [sys.executable, "-W", "error", "benchmarks/nodes.py", "--seeds", "1", "--only", "power"]
    env = {**os.environ, "PYTHONPATH": SETTINGS["PYTHONPATH"]}
    tasks = ["--tasks", "battle-of-sexes", "--midst", "0.5"]
    ran = subprocess.run([*command, *tasks], cwd=ROOT, env=env, capture_output=True, text=True, timeout=110)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "The node " in ran.stdout and "It is run again (1 of 3)." in ran.stdout
