"""What `mlgym doctor` says: what works on this machine, what does not, and what to do about it."""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Literal

from mlgym.allocator import cores, usable
from mlgym.cache import cache_dir, offline
from mlgym.cards import cards
from mlgym.errors import MlgymError
from mlgym.models.endpoint import providers

DISTRIBUTION = "mlgym-env"
LITTLE_GB = 5
GIVES = {  # docs/sandboxes.md has the whole
    "bubblewrap": "its own files, processes, network and shared memory",
    "user": "its own user number, closed folders, Landlock where the kernel has it, no network",
    "landlock": "Landlock's list of places, no signals or network; the same user",
    "local": "nothing",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: what was found, whether it hinders, and advice where it does."""

    name: str
    status: Literal["ok", "warning", "problem"]
    found: str
    advice: str = ""


def report() -> list[Finding]:
    """Every finding, in a fixed order; one that cannot be made is itself a finding."""
    return [finding for look in (_software, _hardware, _installers, _cache, _sandboxes, _models) for finding in look()]


def as_json(findings: list[Finding]) -> str:
    """`{"findings": [{"name", "status", "found", "advice"}, …]}`; names and keys are stable."""
    return json.dumps({"findings": [asdict(finding) for finding in findings]}, indent=1, ensure_ascii=False)


def as_text(findings: list[Finding]) -> str:
    """A line for each finding, its advice below it."""
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{finding.status:8} {finding.name:{width}} {finding.found}")
        if finding.advice:
            lines.append(f"{'':8} {'':{width}} {finding.advice}")
    return "\n".join(lines)


def _software() -> Iterator[Finding]:
    yield Finding("python", "ok", f"{platform.python_version()} ({sys.executable})")
    yield Finding("platform", "ok", f"{platform.system()} {platform.release()} {platform.machine()}")
    try:
        yield Finding("mlgym", "ok", f"{version(DISTRIBUTION)} ({Path(__file__).parent})")
    except PackageNotFoundError:
        yield Finding("mlgym", "ok", f"not installed, running from {Path(__file__).parent}")
    foreign = sorted(set(packages_distributions().get("mlgym", [])) - {DISTRIBUTION})
    if foreign:
        advice = "That is another project's package: run `pip uninstall {}`, then install {} again."
        found = f"the distribution {', '.join(foreign)} provides another `mlgym`"
        yield Finding("foreign", "problem", found, advice.format(" ".join(foreign), DISTRIBUTION))
    for name in ("gymnasium", "numpy", "openai", "anthropic"):
        with suppress(PackageNotFoundError):
            yield Finding(name, "ok", version(name))


def _hardware() -> Iterator[Finding]:
    mine = usable()
    physical = len({cores().get(cpu, cpu) for cpu in mine})
    yield Finding("processors", "ok", f"{len(mine)} to give out, on {physical} physical core{'s' * (physical > 1)}")
    with suppress(AttributeError, ValueError, OSError):
        yield Finding("memory", "ok", _gb(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")))
    told = (f"{card.index}: {card.name}, {card.total_mb} MB, {card.free_mb} free" for card in cards())
    yield Finding("gpu", "ok", "; ".join(told) or "none found")


def _installers() -> Iterator[Finding]:
    from mlgym.pip import find_pip

    try:
        command = find_pip()
        yield Finding("pip", "ok", f"{_said(*command, '--version').partition(' from')[0]} ({' '.join(command)})")
    except MlgymError as error:
        yield Finding("pip", "problem", "none", str(error))
    no_network = "Data and packages come from the cache only; unset MLGYM_OFFLINE to fetch what is missing."
    yield (
        Finding("offline", "warning", "MLGYM_OFFLINE is set", no_network)
        if offline()
        else Finding("offline", "ok", "no")
    )


def _cache() -> Iterator[Finding]:
    try:
        folder = cache_dir()
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (MlgymError, OSError) as error:
        yield Finding("cache", "problem", str(error), "Set MLGYM_CACHE to a folder that you may write to.")
        return
    yield Finding("cache", "ok", f"{folder} holds {_gb(_size(folder))}")
    free = shutil.disk_usage(folder).free
    if free < LITTLE_GB * 10**9:
        advice = (
            f"Below {LITTLE_GB} GB, environments of tasks may not fit: set MLGYM_CACHE to a folder on a larger disk."
        )
        yield Finding("disk", "warning", f"{_gb(free)} free", advice)
    else:
        yield Finding("disk", "ok", f"{_gb(free)} free")


def _sandboxes() -> Iterator[Finding]:
    from mlgym.sandbox import BACKENDS
    from mlgym.sandbox.engine import TITLES
    from mlgym.sandbox.probe import probe

    for name in TITLES:
        yield _engine(name)
    tried = [probe(name) for name in BACKENDS if name not in TITLES]
    isolated = any(each.works and each.isolation != "none" for each in tried)
    for each in tried:
        if each.works:
            program = f" ({each.program})" if each.program else ""
            gives = f": {GIVES[each.name]}" if each.name in GIVES else ""
            yield Finding(f"sandbox {each.name}", "ok", f"starts, isolation {each.isolation}{program}{gives}")
        else:
            advice = each.advice or "Choose another with --sandbox."
            status: Literal["warning", "problem"] = "warning" if isolated else "problem"
            yield Finding(f"sandbox {each.name}", status, f"does not start: {each.why}", advice)


def _engine(name: str) -> Finding:
    """Whether a container engine answers; one that is not installed hinders nobody."""
    from mlgym.sandbox.engine import engine
    from mlgym.sandbox.images import base

    try:
        rootless = engine(name).rootless
    except MlgymError as error:
        if shutil.which(name) is None:
            return Finding(f"sandbox {name}", "ok", "not installed")
        return Finding(f"sandbox {name}", "warning", str(error), "Asked for by name only: other sandboxes need it not.")
    return Finding(f"sandbox {name}", "ok", f"answers{', without root' if rootless else ''} (base image {base()})")


def _models() -> Iterator[Finding]:
    keys = [provider.key for provider in providers().values() if os.environ.get(provider.key)]
    yield Finding("keys", "ok", ", ".join(keys) or "none set, so models need a server of yours (--base-url)")


def _said(*command: str) -> str:
    """What a program prints, empty when there is none or it fails."""
    try:
        ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ran.stdout.strip() if ran.returncode == 0 else ""


def _size(folder: Path) -> int:
    """Bytes of all files below; what vanishes or may not be read counts nothing."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(f"{place}/{name}").st_size
    return total


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
