"""The scale of made tasks: 0 for the starter, 1 for the ceiling, both worked out when the data are made.

Nothing is imported but the standard library.
"""

import contextlib
import io
import json
import os
import runpy
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

SCALE = "scale.json"


@contextlib.contextmanager
def started(workspace: Path, public: Path, script: str) -> Iterator[Path]:
    """Run the starter's script in this process as an agent would: a copy of the workspace beside the public data.

    Given is that folder, with what the script made, which is gone afterwards.
    """
    before, path = Path.cwd(), list(sys.path)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "workspace"
        shutil.copytree(workspace, folder)
        (folder / "data").symlink_to(public, target_is_directory=True)
        os.chdir(folder)
        sys.path.insert(0, str(folder))
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                runpy.run_path(script, run_name="__main__")
            yield folder
        finally:
            os.chdir(before)
            sys.path[:] = path


def write(private: Path, scale: Mapping[str, Mapping[str, float]]) -> None:
    """Keep, for each split, the scores of `floor` (of who knows nothing), `starter` and `ceiling`, in one metric.

    Raises ValueError where they are not apart: there would be nothing to learn.
    """
    for split, marks in scale.items():
        floor, starter, ceiling = marks["floor"], marks["starter"], marks["ceiling"]
        if not (floor - starter) * (starter - ceiling) > 0:
            raise ValueError(f"{split}: floor {floor:g}, starter {starter:g} and ceiling {ceiling:g} are in no order")
    (private / SCALE).write_text(json.dumps(scale))


def skill(private: Path, split: str, score: float) -> float:
    """Where a score lies between the starter's and the ceiling."""
    marks = json.loads((private / SCALE).read_text())[split]
    return float((score - marks["starter"]) / (marks["ceiling"] - marks["starter"])) + 0.0  # no minus before zero
