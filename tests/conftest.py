"""What all tests share: which sandboxes are tried, no keys of the user's, and rights that some tests need."""

import os
import re
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("mlgym", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("mlgym")

ROOT = Path(__file__).parent.parent


WEAK = pytest.param("user" if os.geteuid() == 0 else "landlock", marks=[pytest.mark.slow, pytest.mark.weak])
BACKENDS = ["bubblewrap", WEAK, "local"]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Each sandbox; one that does not start on this machine is skipped, but never in CI."""
    from mlgym.sandbox.landlock import SCOPES
    from mlgym.sandbox.probe import probe
    from mlgym.sandbox.weak import version

    if request.param == "landlock" and version() < SCOPES:
        pytest.skip(f"this kernel's Landlock has version {version()}; {SCOPES} is needed")
    tried = probe(str(request.param))
    if not tried.works:
        assert "CI" not in os.environ, tried
        pytest.skip(f"{tried.name} does not start: {tried.why}")
    return tried.name


@pytest.fixture(autouse=True)
def own_claims(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of a test wait for nobody else's."""
    monkeypatch.setenv("MLGYM_RUNTIME", str(tmp_path_factory.getbasetemp() / "claims"))


@pytest.fixture(autouse=True)
def no_keys(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test can spend the user's money, reads the user's own prices, or waits long for a server that fails."""
    monkeypatch.setenv("MLGYM_CONFIG", str(tmp_path_factory.getbasetemp() / "config"))
    monkeypatch.setenv("MLGYM_MODEL_PAUSE", "0.001")
    for name in list(os.environ):
        if re.search(r"_(API_KEY|BASE_URL)$", name):
            monkeypatch.delenv(name)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs user 0 or a network where the caller has said that there is none."""
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("needs the rights of user 0")
    if item.get_closest_marker("network") and os.environ.get("MLGYM_OFFLINE", "0") not in ("", "0"):
        pytest.skip("MLGYM_OFFLINE is set")
