"""What is shipped: the wheel and the source package hold every file, and little is needed beside them."""

import ast
import json
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "mlgym"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MOST_PACKAGES = 35


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel and the source package, built by the project's own build backend."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, source


def tree() -> set[str]:
    """Every file of the package, relative to src/."""
    found = (path for path in SOURCE.parent.rglob("*") if path.is_file())
    found = (path for path in found if not re.search(r"/(__pycache__|\.\w+_cache)/", path.as_posix()))
    return {path.relative_to(SOURCE.parent).as_posix() for path in found}


def test_the_wheel_holds_the_package_and_nothing_else(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[0]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == tree()
    assert {"mlgym/tasks/house-price/task.toml", "mlgym/models/prices.toml", "mlgym/py.typed"} <= names


def test_the_source_package_builds_the_same(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"src/{name}" for name in tree()} | {"pyproject.toml", "LICENSE", "README.md", "bootstrap.py"} <= names
    assert not [name for name in names if re.match(r"\.venv|runs/|\.git/|\.hypothesis", name)]


def test_tasks_are_found_where_the_wheel_is_laid(built: tuple[Path, Path], tmp_path: Path) -> None:
    with zipfile.ZipFile(built[0]) as wheel:
        wheel.extractall(tmp_path)
    code = (
        "import json, mlgym.task as t; print(json.dumps([t.__file__, sorted({x.folder.name for x in t.list_tasks()})]))"
    )
    run = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"]
    where, tasks = json.loads(subprocess.run(run, check=True, capture_output=True).stdout)
    assert Path(where).is_relative_to(tmp_path)
    assert tasks == sorted(path.parent.name for path in SOURCE.glob("tasks/*/task.toml"))


def test_the_command_is_named_mlgym(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[0]) as wheel:
        (entry,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
        assert "mlgym = mlgym.cli:main" in wheel.read(entry).decode()
        metadata = wheel.read(entry.replace("entry_points.txt", "METADATA")).decode()
    assert "Name: mlgym-env\n" in metadata and "Requires-Python: >=3.11\n" in metadata
    assert "License-Expression: MIT\n" in metadata


def canonical(name: str) -> str:
    """A distribution's name as registries write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(names: list[str]) -> set[str]:
    """The names of all distributions that these requirements bring, as they are installed here."""
    found: set[str] = set()
    waiting = [Requirement(name) for name in names]
    while waiting:
        need = waiting.pop()
        name = canonical(need.name)
        if name in found or (need.marker and not need.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        waiting += [Requirement(line) for line in distribution(name).requires or []]
    return found


def test_few_packages_are_needed() -> None:
    packages = closure(PROJECT["dependencies"])
    assert len(packages) <= MOST_PACKAGES, sorted(packages)


def test_what_is_imported_is_what_is_declared() -> None:
    extras = [line for name, lines in PROJECT["optional-dependencies"].items() if name != "dev" for line in lines]
    declared = {canonical(Requirement(line).name) for line in [*PROJECT["dependencies"], *extras]}
    provided = {name: {canonical(one) for one in found} for name, found in packages_distributions().items()}
    used = set()
    for path in SOURCE.rglob("*.py"):
        if {"tasks", "families", "templates", "kinds"} & set(path.parts):
            continue  # they run in environments of their own
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            used |= {(name.split(".")[0], path.name) for name in names}
    ours = {"", "mlgym", "kinds", "__future__", *sys.stdlib_module_names}
    strangers = {
        (name, file) for name, file in used if name not in ours and not declared & provided.get(name, {canonical(name)})
    }
    assert not strangers
