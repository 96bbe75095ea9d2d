"""`run.json`: the grid of a run as it was merged from file and flags, and the versions of all that made it."""

import json
import platform
import re
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from mlgym.cards import cards
from mlgym.disk import write_whole

RUN = "run.json"
DISTRIBUTION = "mlgym-env"


def versions(tasks: Mapping[str, int]) -> dict[str, Any]:
    """What a run is made with: mlgym and its commit (where it runs from a checkout), Python, packages, tasks."""
    return {
        "mlgym": _version(DISTRIBUTION),
        "commit": commit(Path(__file__).parent),
        "python": platform.python_version(),
        "machine": {"system": platform.system(), "processor": _processor(), "cards": [card.name for card in cards()]},
        "packages": _packages(),
        "tasks": dict(tasks),
    }


def commit(package: Path) -> str:
    """The commit of the checkout whose src/ holds the package, with `+` where files differ from it; else empty."""
    top = _git(package, "rev-parse", "--show-toplevel")
    if not top or Path(top).resolve() / "src" / package.name != package.resolve():
        return ""
    changed = _git(package, "status", "--porcelain", "--untracked-files=no")
    return _git(package, "rev-parse", "HEAD") + "+" * bool(changed)


def keep_run(run: Path, grid: dict[str, Any], made_with: dict[str, Any]) -> None:
    """Write `run.json`; what another start of the same run had is kept in its list `earlier`."""
    run.mkdir(parents=True, exist_ok=True)
    path = run / RUN
    old = read_run(run)
    now = {"grid": grid, "versions": made_with}
    if {key: old.get(key) for key in now} == now:
        return
    earlier = [*old.pop("earlier", []), old] if old else []
    whole = {**now, "at": datetime.now(UTC).isoformat(timespec="seconds"), "earlier": earlier}
    write_whole(path, json.dumps(whole, indent=1).encode())


def read_run(run: Path) -> dict[str, Any]:
    """What `run.json` holds; empty where it cannot be read: results do not depend on it."""
    try:
        found = json.loads((run / RUN).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _processor() -> str:
    """The kind of processor, as the system names it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _git(folder: Path, *words: str) -> str:
    try:
        ran = subprocess.run(
            ["git", "-C", str(folder), *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ran.stdout.strip() if ran.returncode == 0 else ""


def _packages() -> dict[str, str]:
    """The packages that mlgym names, those of extras included, and their versions, where they are installed."""
    try:
        named = [line for line in requires(DISTRIBUTION) or [] if "'dev'" not in line]
    except PackageNotFoundError:
        return {}
    found = {
        name: _version(name) for name in sorted({re.split(r"[\s<>=!~;\[(]", line, maxsplit=1)[0] for line in named})
    }
    return {name: installed for name, installed in found.items() if installed}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
