"""An environment of the user's in the place of a task's own: looked at first, shown inside, said in the result."""

import subprocess
import sys
from pathlib import Path

import pytest

from mlgym.env import ResearchEnv
from mlgym.errors import UsageError
from mlgym.grading.prepare import prepare
from mlgym.task import load_task
from tests.wheels import CODE, TOML, tiny_task


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A virtual environment with the package `shop`, another version than the task's."""
    subprocess.run([sys.executable, "-I", "-m", "venv", "--without-pip", tmp_path / "mine"], check=True)
    package(tmp_path / "mine", "shop", "2.0")
    return tmp_path / "mine" / "bin" / "python"


def package(environment: Path, name: str, version: str) -> None:
    """Put a package into an environment."""
    (site,) = environment.glob("lib/python*/site-packages")
    (site / f"{name}-{version}.dist-info").mkdir()
    (site / f"{name}-{version}.dist-info" / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    (site / f"{name}-{version}.dist-info" / "top_level.txt").write_text(f"{name}\n")
    (site / name).mkdir()
    (site / name / "__init__.py").write_text(f"VERSION = '{version}'\n")


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """A task that pins shop 1.0, and whose starter imports it and a module beside it."""
    toml = TOML.replace("packages = []", 'packages = ["shop==1.0"]\ngrader_packages = []')
    folder = tiny_task(tmp_path / "tiny", toml, CODE)
    (folder / "workspace" / "start.py").write_text("import json\nimport shop\nimport beside\nprint(shop.VERSION)\n")
    (folder / "workspace" / "beside.py").write_text("")
    return folder


def test_the_agent_gets_its_packages_and_the_result_says_so(python, task, backend):
    env = ResearchEnv(task, sandbox=backend, python=str(python))
    env.reset(seed=0)
    assert env.step("python start.py; command -v python")[0].startswith("2.0\n")
    assert env.prepared and "of the user's: shop 2.0 instead of 1.0" in env.prepared.python
    assert env.brief.machine["python"] == env.prepared.python
    if env.backend.isolation == "full":
        assert "No such file" in env.step(f"ls {task}")[0]
        assert "Error" in env.step("python -c 'import pytest'")[0]  # the base Python's own packages stay hidden
    env.close()


def test_without_the_packages_of_the_starter_it_is_refused(python, task):
    (task / "workspace" / "start.py").write_text("import shop, nowhere\n")
    with pytest.raises(UsageError, match=r"cannot import nowhere, which the task's starter needs: install that\.$"):
        prepare(load_task(task), python=str(python))


def test_mlgym_must_not_be_in_it(python, task):
    package(python.parent.parent, "mlgym", "1.0")
    with pytest.raises(UsageError, match="has mlgym in it, whose tasks an agent must not see"):
        prepare(load_task(task), python=str(python))


@pytest.mark.parametrize("given", ["/nowhere/python", "/bin/false", "/bin/echo"])
def test_what_is_no_python_is_one_sentence(task, given):
    with pytest.raises(UsageError, match=rf"^{given} is not a Python that runs here \(.*\)\.$"):
        prepare(load_task(task), python=given)


def test_the_systems_own_python_shows_too_much(task, tmp_path):
    (task / "workspace" / "start.py").write_text("")
    system = next((path for path in (Path("/usr/bin/python3"), Path("/usr/local/bin/python3")) if path.exists()), None)
    if system is None:
        pytest.skip("the system has no Python")
    with pytest.raises(UsageError, match=r"is the system's own|needs 3\.11"):
        prepare(load_task(task), python=str(system))
