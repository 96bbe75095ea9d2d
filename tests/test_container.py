"""The backends `docker` and `podman` on real engines: the examiner, an episode, the forgeries, each wall taken away."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import engines
import pytest

import mlgym
from mlgym.episode import run_episode
from mlgym.errors import SandboxError
from mlgym.grading.forgeries import fitting, run_forgeries
from mlgym.grading.prepare import prepare
from mlgym.records import Attempt, EpisodeSpec, Limits
from mlgym.sandbox import Bind, SandboxLimits, SandboxSpec, container, images, launch, open_shell
from mlgym.sandbox.container import LABEL, Docker, Podman, sweep
from mlgym.sandbox.engine import call, failure
from mlgym.sandbox.examiner import Case, cases, examine
from mlgym.task import load_task
from mlgym.tools import Session
from mlgym.tools.jobs import job
from mlgym.watch import CHOICE

LOOKED = {**CHOICE, "names": ()}
CASES = {case.name: case for case in cases()}
BACKENDS: dict[str, type[Docker]] = {"docker": Docker, "podman": Podman}


@pytest.fixture(scope="module", params=list(BACKENDS))
def backend(request: pytest.FixtureRequest) -> Iterator[type[Docker]]:
    """Each engine that runs here, with a base image of its own."""
    name = request.param
    if why := engines.why_not(name):
        pytest.skip(f"no containers of {name}: {why}")
    try:
        with engines.running(name):
            yield BACKENDS[name]
            assert not listed(name)
    except engines.NoEngine as error:
        pytest.skip(f"{name} does not run here: {error}")


def listed(engine: str) -> list[str]:
    """The sandboxes that the engine has, running or not."""
    return call(engine, "ps", "--all", "--filter", f"label={LABEL}", "--format", "{{.Names}}").split()


@pytest.mark.slow
def test_what_a_command_changed_is_seen(backend: type[Docker], tmp_path: Path) -> None:
    with open_shell(backend, SandboxSpec(tmp_path)) as shell:
        shell.run("echo 1 > a.py; echo 1 > b.py", 20)
        assert shell.look(0, 1, [], LOOKED).files == {"a.py": b"1\n", "b.py": b"1\n"}
        shell.run("sed -i s/1/2/ a.py; rm b.py", 20)
        look = shell.look(1, 2, ["a.py", "b.py"], LOOKED)
        assert look.files["a.py"] == b"2\n" and look.gone == ("b.py",) and look.whole


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.name)
def test_case(case: Case, backend: type[Docker]) -> None:
    outcome = examine(case, backend)
    assert outcome.outcome == "passed", outcome.why


@pytest.mark.slow
def test_a_program_is_the_agent_in_a_container(backend: type[Docker], tmp_path: Path) -> None:
    (tmp_path / "script.json").write_text('["ls", "submit"]')
    loop = Path(__file__).parent.parent / "examples" / "loop.py"
    model = f"scripted/{tmp_path / 'script.json'}"
    spec = EpisodeSpec(task="battle-of-sexes", agent=f"command {loop}", model=model, sandbox=backend.name)
    result = run_episode(spec, tmp_path / "e")
    assert (result.ended, result.steps, result.cost.calls, result.isolation) == ("submitted", 2, 2, "full"), result.why
    end = time.monotonic() + 10
    while listed(backend.name) and time.monotonic() < end:  # the engine may still be removing one that ended by itself
        time.sleep(0.1)
    assert not listed(backend.name)


@pytest.mark.slow
def test_an_episode_is_graded_in_containers(backend: type[Docker], tmp_path: Path) -> None:
    result = run_episode(EpisodeSpec(task="battle-of-sexes", agent="tuner?trials=3", sandbox=backend.name), tmp_path)
    final = result.attempts[-1]
    assert (result.ended, result.isolation, final.valid) == ("submitted", "full", True), result
    assert final.validation and final.validation["score"] > 1.03
    assert not listed(backend.name)


@pytest.mark.slow
def test_no_forgery_scores(backend: type[Docker]) -> None:
    prepared = prepare(load_task("battle-of-sexes"))
    outcomes = list(run_forgeries(prepared, backend))
    assert [outcome.name for outcome in outcomes] == [forgery.name for forgery in fitting(prepared.task.kind)]
    assert not [outcome for outcome in outcomes if outcome.scored]


def without(backend: type[Docker], *options: str) -> type[Docker]:
    """The backend less some options of `run`, each with its argument as one word."""

    class Weakened(backend):  # type: ignore[misc, valid-type]
        def options(self) -> Iterator[str]:
            text = "\0" + "\0".join(super().options()) + "\0"
            for option in options:
                begin = text.index("\0" + option)
                text = text[:begin] + text[text.index("\0", begin + 1 + len(option)) :]
            yield from text.strip("\0").split("\0")

    return Weakened


def noticed(case: str, backend: type[Docker]) -> bool:
    """Whether the case fails on the backend, and not because nothing started."""
    outcome = examine(CASES[case], backend)
    return outcome.outcome == "failed" and "has ended by itself" not in outcome.why


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "options"),
    [
        ("walls: no further user namespaces", ["--cap-drop\0ALL"]),
        ("walls: the rest is read-only, and bounded", ["--tmpfs\0/tmp"]),
        ("walls: no files of the host", ["--tmpfs\0/sys"]),
        ("walls: no other user's rights", ["--user\0"]),
    ],
)
def test_an_option_taken_away_is_noticed(case: str, options: list[str], backend: type[Docker]) -> None:
    if backend is Podman:
        options = [option.replace("--tmpfs\0/sys", "--security-opt\0mask=/sys") for option in options]
    assert noticed(case, without(backend, *options))


@pytest.mark.slow
def test_new_privileges_are_noticed_and_no_filter_is_taken_on_with_them(
    backend: type[Docker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weakened = without(backend, "--security-opt\0no-new-privileges")
    with pytest.raises(SandboxError, match="no filter of calls"):
        open_shell(weakened, SandboxSpec(tmp_path)).start()
    monkeypatch.setattr(container, "CONFINE", "import os, sys; os.execvp(sys.argv[2], sys.argv[2:])")
    for kind, value in ((backend, "1"), (weakened, "0")):
        with open_shell(kind, SandboxSpec(tmp_path)) as shell:
            assert shell.run("grep NoNewPrivs /proc/self/status", 5).output.split()[1] == value


@pytest.mark.root
@pytest.mark.slow
def test_the_root_is_read_only_even_to_its_owner(
    backend: type[Docker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container, "free_uid", lambda: 0)
    for kind, code in ((backend, 1), (without(backend, "--read-only"), 0)):
        with open_shell(kind, SandboxSpec(tmp_path)) as shell:
            assert shell.run("echo 1 >/usr/bin/planted", 5).code == code


@pytest.mark.slow
@pytest.mark.parametrize("case", ["walls: calls refused", "walls: no odd sockets"])
def test_the_filter_taken_away_is_noticed(case: str, backend: type[Docker], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "CONFINE", "import os, sys; os.execvp(sys.argv[2], sys.argv[2:])")
    assert noticed(case, backend)


@pytest.mark.slow
def test_what_was_hit_is_said_and_the_processor_time_is_counted(backend: type[Docker], tmp_path: Path) -> None:
    limits = SandboxLimits(memory_mb=128, processes=40)
    many = "for i in 1 2 3 4; do python3 -c 'x = bytearray(60 << 20); import time; time.sleep(1)' & done; wait"
    with open_shell(backend, SandboxSpec(tmp_path, limits=limits)) as shell:
        fill = "for place in /tmp /dev/shm ~; do head -c 300M /dev/zero >$place/x; done; rm /dev/shm/x ~/x /tmp/x"
        assert shell.run(fill, 20).hit == "" and shell.run("echo alive", 20).output == "alive\n"
        assert shell.run(many, 20).hit == "oom"
        assert shell.run("echo alive", 20).hit == ""
        assert shell.run("(for i in $(seq 60); do sleep 1 & done; wait) 2>/dev/null", 20).hit == "processes"
        before = shell.cpu_s
        shell.exec(["python3", "-c", "import time; a = time.process_time()\nwhile time.process_time() < a + 0.5: pass"])
        assert 0.5 <= shell.cpu_s - before < 1.5
    assert shell.cpu_s >= before + 0.5


@pytest.mark.slow
def test_a_job_runs_and_is_stopped_in_a_container(backend: type[Docker], tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    with open_shell(backend, SandboxSpec(tmp_path / "w")) as shell:
        session = Session(shell, Limits(command_s=20), lambda kind: Attempt(n=0, step=1, kind=kind), {})
        for command in ("exit 3", "sleep 60"):
            assert "is started" in job(session, "start", command)
        assert re.match("Job 1 ended after .* with exit code 3.", job(session, "poll", id=1, wait=10))
        assert job(session, "stop").startswith("Job 2 was stopped after ")


@pytest.mark.slow
@pytest.mark.parametrize(("option", "many"), [("--memory", "oom"), ("--pids-limit", "processes")])
def test_a_limit_taken_away_is_noticed(option: str, many: str, backend: type[Docker], tmp_path: Path) -> None:
    limits = SandboxLimits(memory_mb=128, processes=40)
    taken = ["--memory\x00128m", "--memory-swap\x00128m"] if option == "--memory" else [f"{option}\x0040"]
    kind = without(backend, *taken)
    commands = {
        "oom": "for i in 1 2 3 4; do python3 -c 'x = bytearray(60 << 20); import time; time.sleep(1)' & done; wait",
        "processes": "(for i in $(seq 60); do sleep 1 & done; wait) 2>/dev/null",
    }
    with open_shell(kind, SandboxSpec(tmp_path, limits=limits)) as shell:
        assert shell.run(commands[many], 20).hit == ""


@pytest.mark.slow
def test_other_packages_of_the_base_image_are_not_inside(
    backend: type[Docker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Dockerfile").write_text(
        f"FROM {engines.BASE}\nRUN mkdir -p /usr/lib/python3/dist-packages/sklearn /usr/share/datasets /var/lib\n"
    )
    call(backend.name, "build", "--quiet", "--tag", "mlgym-test-full", str(tmp_path))
    monkeypatch.setenv("MLGYM_IMAGE", "mlgym-test-full")
    case = CASES["walls: no packages, no mlgym, no shared data"]
    assert examine(case, backend).outcome == "passed"
    monkeypatch.setattr(images, "TIDY", images.TIDY.replace("for path in gone:", "for path in []:"))
    images._image.cache_clear()
    assert examine(case, backend).outcome == "failed"


@pytest.mark.slow
def test_an_image_is_built_once_for_its_packages_and_its_base(
    backend: type[Docker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLGYM_CACHE", str(tmp_path))
    wheels: dict[str, str] = {}
    monkeypatch.setattr(images, "_wheels", lambda *args: wheels.update(pins=args[2]))
    first = images.image(backend.name, None)
    images._image.cache_clear()
    caplog.clear()
    assert images.image(backend.name, None) == first and not caplog.records
    (tmp_path / "Dockerfile").write_text(f"FROM {engines.BASE}\nLABEL other=1\n")
    call(backend.name, "build", "--quiet", "--tag", "mlgym-test-other", str(tmp_path))
    monkeypatch.setenv("MLGYM_IMAGE", "mlgym-test-other")
    assert images.image(backend.name, None) != first
    dockerfiles = [path.read_text() for path in (tmp_path / "images").glob("*.Dockerfile")]
    assert any("FROM mlgym-test-other" in text for text in dockerfiles)
    monkeypatch.setenv("MLGYM_IMAGE", "localhost/mlgym-test-none")
    with pytest.raises(
        SandboxError, match="localhost/mlgym-test-none is not here and cannot be pulled: set MLGYM_IMAGE"
    ):
        images.image(backend.name, None)


@pytest.mark.slow
def test_pinned_wheels_are_installed_without_an_index(backend: type[Docker], tmp_path: Path) -> None:
    env = prepare(load_task("battle-of-sexes")).env
    with open_shell(backend, SandboxSpec(tmp_path, env)) as shell:
        ran = shell.run(
            "python -c 'import numpy, sys; print(numpy.__version__, sys.prefix)'; python -m pip --version", 30
        )
    pins = json.loads((env / "packages.json").read_bytes())
    assert f"numpy=={ran.output.split()[0]}" in pins
    assert "/opt/env" in ran.output and "No module named pip" in ran.output


@pytest.mark.slow
def test_binds_are_shown_and_what_is_left_can_be_removed(backend: type[Docker], tmp_path: Path) -> None:
    data, work = tmp_path / "data", tmp_path / "work"
    data.mkdir()
    work.mkdir()
    (data / "x.csv").write_text("1\n")
    binds = (Bind(data, "/opt/data"), Bind(data, f"{container.WORKSPACE}/d"), Bind(data / "x.csv", "/opt/one/x.csv"))
    with open_shell(backend, SandboxSpec(work, binds=binds, variables={"A": "b"})) as shell:
        assert shell.run("cat d/x.csv /opt/data/x.csv /opt/one/x.csv; echo $A", 5).output == "1\n1\n1\nb\n"
        assert "Read-only" in shell.run("echo 2 >/opt/data/x.csv; rm d/x.csv; touch d/y", 5).output
        shell.run("mkdir -m 0 closed; touch mine", 5)
        uid = int(shell.run("id -u", 5).output)
    assert (work / "mine").stat().st_uid == (uid if backend.name == "docker" else (work / "mine").stat().st_uid)
    assert (data / "x.csv").read_text() == "1\n"


@pytest.mark.slow
def test_the_container_ends_though_its_program_was_killed(backend: type[Docker], tmp_path: Path) -> None:
    sandbox = backend(SandboxSpec(tmp_path))
    sandbox.start()
    process = launch(sandbox, ["sleep", "1000"])
    wait_for(backend.name, sandbox.container)
    process.kill()
    process.communicate()
    assert listed(backend.name) == [sandbox.container]
    sandbox.stop()
    sandbox.stop()
    assert not listed(backend.name)


@pytest.mark.slow
def test_the_containers_of_dead_owners_are_swept(backend: type[Docker], tmp_path: Path) -> None:
    """One of a process that was killed outright goes; one of a living process stays."""
    code = (
        "import pathlib, sys, time\n"
        "from mlgym.sandbox import SandboxSpec, choose, launch\n"
        f"sandbox = choose({backend.name!r})(SandboxSpec(pathlib.Path({str(tmp_path)!r})))\n"
        "sandbox.start()\n"
        "process = launch(sandbox, ['sleep', '1000'])\n"
        "print(process.pid, sandbox.container, flush=True)\n"
        "time.sleep(1000)\n"
    )
    path = os.pathsep.join([str(Path(mlgym.__file__).parent.parent), *sys.path])
    owner = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
    )
    assert owner.stdout
    program, name = owner.stdout.readline().decode().split()
    wait_for(backend.name, name)
    sweep(backend.name)
    assert listed(backend.name) == [name]
    owner.kill()
    owner.wait()
    owner.stdout.close()
    os.kill(int(program), signal.SIGKILL)
    assert listed(backend.name) == [name]
    sweep(backend.name)
    assert not listed(backend.name)


def wait_for(engine: str, name: str) -> None:
    """Wait until the container is there."""
    while name not in call(engine, "ps", "--format", "{{.Names}}").split():
        pass


@pytest.mark.parametrize(
    ("program", "said", "sentence"),
    [
        ("docker", "/usr/bin/env: 'docker': No such file or directory\n", "no program docker: install Docker"),
        ("podman", "env: podman: No such file or directory\n", "no program podman: install Podman"),
        ("docker", "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?", "start Docker"),
        (
            "docker",
            "Got permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: "
            'Get "http://x/v1.24/version": dial unix /var/run/docker.sock: connect: permission denied',
            "add it to the group docker",
        ),
        ("docker", "note\nERROR: No matching distribution\nThe command 'x' returned 1\n", "No matching distribution."),
    ],
)
def test_a_failure_is_a_sentence(program: str, said: str, sentence: str) -> None:
    assert sentence in failure(program, said)


def test_what_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxError, match="There is no program docker: install Docker or choose another sandbox"):
        open_shell("docker", SandboxSpec(tmp_path)).start()


def test_an_interpreter_of_the_users_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match=r"takes no interpreter of yours \(--python\)"):
        images.image("docker", tmp_path)


def test_the_place_of_a_bind_is_made_without_following_links(tmp_path: Path) -> None:
    outside, work = tmp_path / "outside", tmp_path / "work"
    outside.mkdir()
    work.mkdir()
    container._place(work, f"{container.WORKSPACE}/a/b", True)
    container._place(work, f"{container.WORKSPACE}/a/c.txt", False)
    container._place(work, "/opt/elsewhere", True)
    assert sorted(str(path.relative_to(work)) for path in work.rglob("*")) == ["a", "a/b", "a/c.txt"]
    (work / "link").symlink_to(outside)
    with pytest.raises(SandboxError, match="the workspace has something else there"):
        container._place(work, f"{container.WORKSPACE}/link/x", True)
    assert not list(outside.iterdir())
