"""The architecture: a module imports only from lower floors, and importing mlgym does nothing."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "mlgym"

FLOORS: dict[float, set[str]] = {
    7: {"cli", "__main__"},
    6.5: {"live", "examine", "assault", "author"},
    6.2: {"board"},
    6: {"report", "viewer", "serve", "doctor"},
    5.7: {"verify", "generate"},
    5.5: {"pack"},
    5.2: {"forecast"},
    5.3: {"adapters", "gate"},
    5.1: {"rl"},
    5.05: {"remote"},
    5.02: {"wire", "offer"},
    5: {
        "grid",
        "bench",
        "launchers",
        "check",
        "regrade",
        "audit",
        "importers",
        "exporters",
        "vector",
        "totals",
    },
    4.8: {"job"},
    4.5: {"protocol", "driver"},
    4: {"episode", "status"},
    3.9: {"rollout"},
    3.85: {"kept", "watch"},
    3.8: {"outcome", "onward", "cast"},
    3.7: {"marks", "outside", "many", "session"},
    3.6: {"rewards"},
    3.5: {"wrappers"},
    3: {"env"},
    2.8: {"attempts"},
    2.5: {"tools", "agents"},
    2: {"grading", "runs"},
    1.1: {"ranges"},
    0.7: {"guard"},
    1: {"task", "sandbox", "models", "store", "environments", "allocator", "memory", "papers"},
    0.8: {"sources", "made", "mutations"},
    0.5: {"pip", "own_python", "cards"},
    0.6: {"versions"},
    0.4: {"presets"},
    0.2: {"names", "cache", "beside", "schedule", "halt", "interrupts", "curriculum"},
    0.15: {"trajectory"},
    0.1: {"disk", "rows"},
    0: {"errors", "records", "metrics", "scrub", "columns", "mistakes", "ranking", "addresses"},
}
FLOOR = {part: floor for floor, parts in FLOORS.items() for part in parts}

NARROWER = {  # what a part may import beside itself, where that is less than all lower floors
    "agents": {"errors", "names", "records", "models"},
    "metrics": {"errors", "records"},
    "report": {"errors", "records", "names", "metrics", "store", "task", "made", "columns", "rows", "runs", "disk"},
    "rows": {"columns", "metrics"},
    "runs": {"errors", "columns", "rows", "task"},
    "viewer": {
        "errors",
        "records",
        "names",
        "metrics",
        "store",
        "task",
        "made",
        "columns",
        "rows",
        "runs",
        "status",
        "disk",
        "cache",
        "beside",
        "guard",
    },
    "exporters": {
        "errors",
        "records",
        "names",
        "metrics",
        "store",
        "task",
        "columns",
        "rows",
        "runs",
        "disk",
        "trajectory",
    },
}
WIDER = {  # beside lower floors: values handed in by the caller, whose types and defaults lie with a neighbour
    "__main__": {"cli"},
}
THIRD_PARTY = {  # where a package may be imported
    "gymnasium": {"env", "wrappers", "rewards", "many", "vector", "rl", "adapters"},
    "ray": {"launchers"},
    "matplotlib": {"report"},
    "pyarrow": {"report", "exporters"},
    "pypdf": {"papers"},
    "openai": {"models", "adapters"},
    "anthropic": {"models"},
    "litellm": {"models"},
    "xllamacpp": {"models"},
    "torch": {"models", "rl", "adapters"},
    "transformers": {"models", "rl"},
    "tokenizers": {"rl"},
    "trl": {"adapters"},
    "verifiers": {"adapters"},
    "openenv": {"adapters"},
    "torchrl": {"adapters"},
    "harbor": {"adapters"},
    "datasets": {"adapters", "exporters"},
    "starlette": {"guard", "serve", "viewer"},
    "uvicorn": {"guard", "serve", "viewer"},
    "websockets": {"serve", "rl"},
    "typer": {"cli"},
    "dotenv": {"cli"},
    "pygments": {"viewer"},
    "rich": {"cli", "live", "board", "examine", "assault", "report"},
}


def part(name: str) -> str:
    """The part of the house that a dotted name belongs to: `mlgym.models.openai` -> `models`, `mlgym` itself -> ``."""
    return ([*name.split("."), ""])[1]


def files() -> list[Path]:
    """Every module of the package; the folders of tasks, families and templates are data."""
    return [path for path in sorted(SOURCE.rglob("*.py")) if not {"tasks", "families", "templates"} & set(path.parts)]


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every import of a file: in functions too, and names that stand in it as text."""
    package = ["mlgym", *path.relative_to(SOURCE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) + 1 - node.level]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            if module == "mlgym":
                yield from ((node.lineno, f"mlgym.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, module
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from ((node.lineno, name) for name in as_text(node.value))


def as_text(value: str) -> list[str]:
    """The module that a text such as `mlgym.agents.react:react` or `mlgym.records` names."""
    found = re.fullmatch(r"(mlgym(?:\.\w+)+)(?::\w+)?", value)
    return [found[1]] if found else []


def allowed(importer: str, imported: str) -> bool:
    """Whether the part `importer` may import the part `imported`."""
    if importer == imported:
        return True
    lower = {name for name, floor in FLOOR.items() if floor < FLOOR[importer]}
    return imported in NARROWER.get(importer, lower) | WIDER.get(importer, set())


def own_part(path: Path) -> str:
    """The part that a file belongs to."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


LOADED = {("env", "rewards"), ("env", "many"), ("env", "vector")}  # the registration names them, Gymnasium loads them


def test_every_part_has_a_floor() -> None:
    assert {own_part(path) for path in files()} - {"__init__"} <= set(FLOOR)


def test_imports_go_downward_only() -> None:
    wrong = [
        f"{path.relative_to(SOURCE)}:{line} imports {name}"
        for path in files()
        if own_part(path) != "__init__"
        for line, name in imports(path)
        if name.startswith("mlgym.") and (own_part(path), part(name)) not in LOADED
        if part(name) not in FLOOR or not allowed(own_part(path), part(name))
    ]
    assert not wrong, "\n".join(wrong)


def test_third_party_packages_stay_on_their_floors() -> None:
    wrong = [
        f"{path.relative_to(SOURCE)}:{line} imports {name}"
        for path in files()
        for line, name in imports(path)
        if own_part(path) not in THIRD_PARTY.get(name.split(".")[0], {own_part(path)})
    ]
    assert not wrong, "\n".join(wrong)


def test_only_what_is_sent_inside_is_found_as_kinds() -> None:
    wrong = [
        f"{path.relative_to(SOURCE)}:{line}"
        for path in files()
        for line, name in imports(path)
        if name.split(".")[0] == "kinds" and "kinds" not in path.parts
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def f():\n    from mlgym.env import ResearchEnv", ["mlgym.env"]),
        ("from mlgym import env, errors", ["mlgym.env", "mlgym.errors"]),
        ("from . import shell", ["mlgym.sandbox"]),
        ("from ..env import x", ["mlgym.env"]),
        ("from .. import env", ["mlgym.env"]),
        ("X = 'mlgym.env:ResearchEnv'", ["mlgym.env"]),
        ("'a sentence about mlgym.env'", []),
    ],
)
def test_the_graph_sees_every_way_to_import(
    code: str, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "SOURCE", tmp_path)
    path = tmp_path / "sandbox" / "probe.py"
    path.parent.mkdir()
    path.write_text(code)
    assert [name for _, name in imports(path)] == expected


@pytest.mark.parametrize(
    ("importer", "imported"), [("agents", "env"), ("agents", "sandbox"), ("task", "store"), ("report", "agents")]
)
def test_what_carries_most_of_the_value_is_forbidden(importer: str, imported: str) -> None:
    assert not allowed(importer, imported)


def test_importing_does_nothing(tmp_path: Path) -> None:
    code = """
import sys
import mlgym
heavy = {"pydantic", "numpy", "gymnasium", "openai", "anthropic", "typer", "rich", "dotenv", "subprocess"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
assert "ResearchEnv" in dir(mlgym)
"""
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "PATH": os.environ["PATH"]}
    (tmp_path / ".env").write_text("MLGYM_FROM_DOTENV=1")
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=home)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert [path.name for path in tmp_path.iterdir()] == [".env"]


def test_the_environments_are_registered_where_gymnasium_came_first() -> None:
    code = "import gymnasium, mlgym; assert 'mlgym/battle-of-sexes-v1' in gymnasium.registry"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_every_public_name_is_there() -> None:
    import mlgym

    assert [name for name in mlgym.__all__ if not hasattr(mlgym, name)] == []
    with pytest.raises(AttributeError, match="'nothing'"):
        _ = mlgym.nothing
