"""Records that somebody changed in any way: an audit says what it sees and never fails."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from fuzz import fuzz
from hypothesis import strategies as st

from mlgym.audit import Flag, audit
from mlgym.episode import run_episode
from mlgym.records import EpisodeSpec, Limits
from mlgym.store import episode_folder

GUESS = str(Path(__file__).parent.parent / "examples" / "guess")
VALUE = (
    st.none()
    | st.booleans()
    | st.integers(-3, 10**30)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([[], {}, {"closeness": 1}, {"closeness": float("nan")}, {"x": 0.5}, "../x", "validate", "test"])
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A run with an honest episode."""
    spec = EpisodeSpec(task=GUESS, agent="tuner?trials=1", limits=Limits(steps=12))
    run_episode(spec, episode_folder(tmp_path / "run", spec))
    return tmp_path / "run"


@fuzz(40, data=st.data())
def test_any_change_of_a_record_is_no_traceback(place: Path, data: st.DataObject) -> None:
    run = place.with_name("copy")
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(place, run)
    path = data.draw(st.sampled_from(sorted(path for path in run.rglob("*.json*") if path.is_file())))
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    at = data.draw(st.integers(0, len(lines) - 1))
    record = json.loads(lines[at])
    _change(record, data)
    lines[at] = json.dumps(record)
    path.write_text("\n".join(lines) + "\n")
    flags, notes = audit(run)
    assert all(isinstance(flag, Flag) and flag.why for flag in flags) and all(notes)


def _change(record: dict[str, Any], data: st.DataObject) -> None:
    """Another value for a field, at any depth."""
    key = data.draw(st.sampled_from(sorted(record)))
    inner = record[key]
    if isinstance(inner, list) and inner and isinstance(inner[0], dict):
        inner = inner[data.draw(st.integers(0, len(inner) - 1))]
    if isinstance(inner, dict) and inner and data.draw(st.booleans()):
        _change(inner, data)
    else:
        record[key] = data.draw(VALUE)
