"""What an agent can see of mlgym and of its task from inside: nothing that is hidden."""

from pathlib import Path

import pytest

import mlgym
from mlgym.cache import cache_dir
from mlgym.env import ResearchEnv
from mlgym.records import Action

pytestmark = pytest.mark.network
SECRET = "mlgym-test-secret-7c1d"


def test_nothing_hidden_is_inside(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if backend == "local":
        pytest.skip("local isolates nothing")
    monkeypatch.setenv("SOME_API_KEY", SECRET)
    env = ResearchEnv("house-price", sandbox=backend)
    env.reset(seed=0)
    assert env.prepared is not None
    shell = env.session.shell
    hidden = [env.prepared.private, env.task.code, env.task.folder, cache_dir(), Path(mlgym.__file__).parent]
    full = env.backend.isolation == "full"
    for place in hidden:
        look = f"ls -la '{place}'" if full else f"cat '{place}' || ls '{place}/'"  # that it is there may be seen
        assert shell.run(look, 10).code != 0, f"{place} is inside"
    answer = (env.prepared.private / "answers.csv").read_text().splitlines()[5]
    code = (env.task.code).read_text().splitlines()[0]
    for needle in (answer, code, "grader_main", SECRET):
        own = f"{shell.sandbox.home}/needle"
        shell.write(own, needle.encode())
        places = f"{shell.sandbox.home} /home /opt /tmp /var /etc /run /srv /mnt /media /root /dev/shm"
        found = shell.exec(["sh", "-c", f"grep -rFls -f {own} {places} | grep -vFx {own}"]).output
        assert not found.strip(), f"{needle!r} is in {found}"
    told = "/proc/*/environ /proc/*/cmdline" if full else "/proc/*/environ"
    environment = shell.run(f"env; cat {told} 2>/dev/null | tr '\\0' '\\n'", 10).output
    assert SECRET not in environment
    assert not full or str(cache_dir()) not in environment
    imported = env.step(Action(tool="bash", args={"command": "python -c 'import mlgym'"}))[0]
    assert "ModuleNotFoundError" in imported
    changed = shell.run("echo x >> data/train.csv", 10)
    assert changed.code != 0, "the public data can be changed"
    env.close()


def test_a_made_task_does_not_tell_what_it_was_drawn_by() -> None:
    """Who knows seed and difficulty, and the code of the family, knows the answers."""
    env = ResearchEnv("tabular-s4711-d0.123")
    text, _ = env.reset(seed=0)
    seen = env.step("cat /proc/self/mountinfo; env; ls -la . data; grep -r . . | head -c 20000")[0]
    env.close()
    assert "data" in seen and not [word for word in ("4711", "0.123", "0-123") if word in text + seen]


def test_the_data_is_there_and_as_the_brief_says(backend: str) -> None:
    env = ResearchEnv("house-price", sandbox=backend)
    env.reset(seed=0)
    listed = env.step("ls data; wc -l < data/test.csv; python -c 'import sklearn; print(sklearn.__version__)'")[0]
    assert "train.csv" in listed and "439" in listed
    assert any(package.removeprefix("scikit-learn==") in listed for package in env.task.packages if "scikit" in package)
    env.close()
