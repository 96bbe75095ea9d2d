"""What a change would break in a Python file, found inside the sandbox: the agent's code is parsed nowhere else."""

import importlib.util
import json
from pathlib import Path

from mlgym.sandbox import Bind
from mlgym.tools.session import Session

PLACE = "/opt/lint"
PACKAGES = ("pyflakes", "pycodestyle")
SCRIPT = Path(__file__).with_name("lint_inside.py")
SECONDS = 20.0


def lint_binds() -> tuple[Bind, ...]:
    """The host's pyflakes and pycodestyle, shown below /opt/lint."""
    return tuple(Bind(path, f"{PLACE}/{path.name}") for path in map(_installed, PACKAGES))


def new_problems(session: Session, path: str, old: str, new: str, span: tuple[int, int, int]) -> list[str]:
    """The problems of `new` that `old` did not have outside the change; none in files that are not Python's.

    `span` is the change: (lines before it, lines up to its end in `old`, lines put there). Where the check itself
    cannot be run there are no problems: it advises and guards nothing.
    """
    if not path.endswith(".py"):
        return []
    shell = session.shell
    places = [shell.inside(bind.target) for bind in lint_binds()]
    script = SCRIPT.read_text(encoding="utf-8")
    ran = shell.exec(
        [shell.sandbox.interpreter, "-ISW", "ignore", "-c", script, *places],
        json.dumps([old, new, *span]).encode(),
        SECONDS,
    )
    try:
        return [str(each) for each in json.loads(ran.output.rpartition("\n\n")[2])] if ran.code == 0 else []
    except ValueError:
        return []


def _installed(name: str) -> Path:
    """The package's folder, or the module's file."""
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.origin is not None, f"{name} is a dependency of mlgym"
    origin = Path(spec.origin)
    return origin.parent if origin.name == "__init__.py" else origin
