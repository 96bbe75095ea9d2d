"""What the doctor finds on machines made for it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlgym import doctor
from mlgym.doctor import Finding


def findings(**env: str) -> dict[str, dict[str, str]]:
    """The doctor's findings, by name, as another process with these variables makes them."""
    code = "from mlgym import doctor; print(doctor.as_json(doctor.report()))"
    ran = subprocess.run([sys.executable, "-c", code], env={**os.environ, **env}, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)["findings"]
    assert all(set(finding) == {"name", "status", "found", "advice"} for finding in found)
    assert all(finding["advice"] or finding["status"] == "ok" for finding in found)
    return {finding["name"]: finding for finding in found}


def test_a_machine_with_everything(tmp_path: Path) -> None:
    found = findings(MLGYM_CACHE=str(tmp_path), OPENAI_API_KEY="sk-secret", MLGYM_OFFLINE="")
    names = ["python", "platform", "mlgym", "processors", "memory", "gpu", "pip", "offline", "cache", "disk", "keys"]
    assert set(names) <= set(found) and {"sandbox bubblewrap", "sandbox local"} <= set(found)
    assert found["python"]["found"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    assert found["keys"]["found"] == "OPENAI_API_KEY" and "sk-secret" not in json.dumps(found)
    assert str(tmp_path) in found["cache"]["found"]
    assert "isolation none" in found["sandbox local"]["found"]


def test_a_foreign_mlgym_is_named(tmp_path: Path) -> None:
    info = tmp_path / "mlgym-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mlgym\nVersion: 1.0\n")
    (info / "top_level.txt").write_text("mlgym\n")
    source = Path(doctor.__file__).parent.parent
    found = findings(PYTHONPATH=f"{source}{os.pathsep}{tmp_path}")["foreign"]
    assert found["status"] == "problem" and "distribution mlgym provides" in found["found"]
    assert "pip uninstall mlgym" in found["advice"]


def test_no_foreign_mlgym_is_not_mentioned() -> None:
    assert "foreign" not in findings()


def test_a_cache_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    found = findings(MLGYM_CACHE=str(tmp_path / "file" / "cache"))
    assert found["cache"]["status"] == "problem" and "MLGYM_CACHE" in found["cache"]["advice"]
    assert "disk" not in found


def test_the_cache_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLGYM_CACHE", str(tmp_path))
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2_300_000_000)
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    assert [finding.found for finding in doctor.report() if finding.name == "cache"] == [f"{tmp_path} holds 2.3 GB"]


def test_offline_is_said() -> None:
    assert findings(MLGYM_OFFLINE="1")["offline"]["status"] == "warning"


def test_advice_stands_below_its_finding() -> None:
    text = doctor.as_text([Finding("short", "ok", "fine"), Finding("longer", "problem", "broken", "Mend it.")])
    assert text.splitlines() == ["ok       short  fine", "problem  longer broken", "                Mend it."]
