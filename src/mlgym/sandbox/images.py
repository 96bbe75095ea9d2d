"""Images of container engines: a base image with a task's pinned packages at /opt/env, built once without a network.

The wheels are fetched on this machine, with the caller's pip configuration, for the Python and the platform of the
base image (`MLGYM_IMAGE`, python:3.12-slim by default; it must have bash, coreutils and Python 3.11 or newer).
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from mlgym.cache import SAY, cache_dir, lock
from mlgym.errors import SandboxError, SourceError
from mlgym.pip import MANIFEST, pip
from mlgym.sandbox.engine import call
from mlgym.sandbox.places import SHARED
from mlgym.sandbox.scratch import scratch

BASE = "python:3.12-slim"
OLDEST = (3, 11)
PYTHON = "/opt/python3"  # a link to the base image's own, with no packages
BUILD_S = 3600.0
STAGE = "mlgym-stage"  # the label of the images that a build leaves beside its own
ABOUT = "import json, os, platform, sys; print(json.dumps([sys.version_info[:2], os.confstr('CS_GNU_LIBC_VERSION')]))"
# What the base image has beside programs and libraries, other packages with their data above all, is taken away: inside
# are the task's own packages and nothing more, as in the other sandboxes.
TIDY = f"""
import glob, os, shutil, sys
keep = {SHARED!r}
pythons = [p for p in sys.path if p.endswith("-packages")]
pythons += glob.glob("/usr/lib/python3*/*-packages") + glob.glob("/usr/local/lib/python3*/*-packages")
gone = [f for p in [*pythons, "/home"] for f in glob.glob(p + "/*")]
gone += [f for f in glob.glob("/usr/share/*") if os.path.basename(f) not in keep]
gone += ["/etc/" + name for name in ("shadow", "gshadow", "machine-id", "ssh")]
gone += ["/" + name for name in ("boot", "mnt", "media", "srv", "var", "root")]
for path in gone:
    shutil.rmtree(path, ignore_errors=True) if os.path.isdir(path) and not os.path.islink(path) else None
    if os.path.lexists(path) and not os.path.isdir(path):
        os.unlink(path)
for path in ("/var", "/root", "/home/agent/workspace"):
    os.makedirs(path, exist_ok=True)
os.chmod("/home/agent", 0o1777)  # older engines take a tmpfs's mode from what is below it
os.symlink("/tmp", "/var/tmp")
os.symlink(os.path.realpath(sys.executable), {PYTHON!r})
"""
INSTALL = (
    "/opt/env/bin/python $(echo /wheels/pip-*.whl)/pip install --quiet --no-index --find-links /wheels"
    " --root-user-action ignore --disable-pip-version-check --requirement /wheels/requirements.txt"
)


def image(program: str, environment: Path | None) -> str:
    """The image with the packages of an environment's folder (None: no packages), built where it is not there yet.

    Raises SandboxError where the base image, the wheels or the environment's list of packages cannot be had.
    """
    if environment is None:
        return _image(program, base(), (), os.environ.get("DOCKER_HOST", ""))
    try:
        pins = json.loads((environment / MANIFEST).read_bytes())
    except OSError as error:
        why = "a container has a Python of its own, so it takes no interpreter of yours (--python)"
        raise SandboxError(f"{environment} has no list of packages for an image: {why}.") from error
    return _image(program, base(), tuple(pins), os.environ.get("DOCKER_HOST", ""))


def base() -> str:
    """The name of the base image."""
    return os.environ.get("MLGYM_IMAGE") or BASE


@cache
def _image(program: str, name: str, pins: tuple[str, ...], _: str) -> str:
    """The tag, once it is known to be there; it says all that decides what is in the image."""
    about = [_present(program, name), pins, dockerfile(name, pins)]
    tag = f"mlgym-env:{hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]}"
    if not _known(program, tag):
        what = f"the image {tag} with {len(pins)} package{'s' * (len(pins) != 1)}"
        (folder := cache_dir() / "images").mkdir(exist_ok=True)
        with lock(folder / f"{program}-{tag[10:]}.lock", what=what, say=SAY):
            if not _known(program, tag):
                SAY(f"Building {what} from {name}, once.")
                _build(program, name, pins, tag, folder)
    return tag


def dockerfile(name: str, pins: Sequence[str]) -> str:
    """The text of the Dockerfile: packages are installed in a stage of its own, whose wheels do not stay."""
    install = ["COPY . /wheels", f"RUN {INSTALL}"] if pins else []
    return "\n".join(
        [
            f"FROM {name} AS packages",
            "USER 0",
            f"LABEL {STAGE}=1",
            "RUN python3 -m venv --without-pip /opt/env",
            *install,
            f"FROM {name}",
            "USER 0",
            "COPY --from=packages /opt/env /opt/env",
            f"RUN {json.dumps(['python3', '-I', '-c', TIDY])}",
            "ENTRYPOINT []",
            "",
        ]
    )


def _build(program: str, name: str, pins: Sequence[str], tag: str, kept: Path) -> None:
    (kept / f"{tag[10:]}.Dockerfile").write_text(dockerfile(name, pins))  # for who wants to know
    with scratch(Path(tempfile.gettempdir())) as folder:
        (folder / "Dockerfile").write_text(dockerfile(name, pins))
        if pins:
            _wheels(program, name, pins, folder)
        try:
            options = ["--quiet", "--force-rm", "--network", "none", "--tag", tag]
            call(program, "build", *options, str(folder), seconds=BUILD_S)
        finally:
            call(program, "image", "prune", "--force", "--filter", f"label={STAGE}")


def _wheels(program: str, name: str, pins: Sequence[str], folder: Path) -> None:
    """Fetch the wheels for the base image's Python, and a pip to install them with."""
    said = call(program, "run", "--rm", "--network", "none", "--entrypoint", "python3", name, "-I", "-c", ABOUT)
    (major, minor), libc = json.loads(said)
    if (major, minor) < OLDEST:
        raise SandboxError(f"{name} has Python {major}.{minor}: set MLGYM_IMAGE to an image with 3.11 or newer.")
    machine = call(program, "image", "inspect", "--format", "{{.Architecture}}", name).strip()
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)
    newest = int(libc.rpartition(".")[2]) if libc and libc.startswith("glibc 2.") else 17
    platforms = [f"manylinux_2_{number}_{machine}" for number in range(newest, 4, -1)]
    platforms += [f"{name}_{machine}" for name in ("manylinux2014", "manylinux2010", "manylinux1", "linux")]
    wanted = [option for each in platforms for option in ("--platform", each)]
    wanted += ["--implementation", "cp", "--python-version", f"{major}.{minor}", "--only-binary", ":all:"]
    (folder / "requirements.txt").write_text("".join(f"{pin}\n" for pin in pins))
    try:
        pip("download", "--quiet", "--dest", str(folder), *wanted, *pins, "pip", what="The packages of the image")
    except SourceError as error:
        raise SandboxError(str(error)) from error


def _known(program: str, name: str) -> str:
    """The image's number, empty where there is none of that name."""
    return call(program, "images", "--quiet", "--no-trunc", name).strip()


def _present(program: str, name: str) -> str:
    """The base image's number; it is pulled where it is not there."""
    if not (found := _known(program, name)):
        SAY(f"Pulling the base image {name}, once.")
        try:
            call(program, "pull", "--quiet", name, seconds=BUILD_S)
        except SandboxError as error:
            why = f"The base image {name} is not here and cannot be pulled: set MLGYM_IMAGE to one that is."
            raise SandboxError(f"{why} {error}") from error
        found = _known(program, name)
    return found
