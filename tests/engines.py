"""Container engines for tests: a daemon in a temporary folder, and a base image made of Debian's packages."""

import contextlib
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

BASE = "mlgym-test-base"
# bash, coreutils and python3, the libraries of these, and what the examiner calls inside
# fmt: off
PACKAGES = (
    "bash", "coreutils", "python3-minimal", "python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib",
    "libc6", "libc-bin", "libtinfo6", "libncursesw6", "libexpat1", "zlib1g", "libffi8", "libssl3", "libbz2-1.0",
    "liblzma5", "libsqlite3-0", "libuuid1", "libdb5.3", "libacl1", "libattr1", "libgmp10", "libselinux1",
    "libpcre2-8-0", "libstdc++6", "libgcc-s1", "libcrypt1", "libreadline8", "libmount1", "libblkid1",
    "libsmartcols1", "libcap-ng0", "libudev1", "libsystemd0", "libproc2-0", "libgcrypt20", "libgpg-error0",
    "liblz4-1", "libzstd1", "libcap2", "procps", "findutils", "grep", "sed", "mawk", "util-linux", "mount",
    "hostname", "dash", "debianutils",
)
# fmt: on
PODMAN = """[containers]
default_ulimits = ["nofile=1024:20000", "nproc=4096:4096"]
netns = "none"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
PODMAN_STORAGE = """[storage]
driver = "overlay"
graphroot = "{0}/storage"
runroot = "{0}/run"
"""
LINKS = {name: f"usr/{name}" for name in ("bin", "sbin", "lib", "lib64")} | {"usr/bin/awk": "mawk"}


class NoEngine(Exception):
    """An engine that does not run here."""


def base_tar(into: Path) -> None:
    """Write a tar of a small system: the files of this machine's own packages, without documents."""
    listed = subprocess.run(["dpkg-query", "--listfiles", *PACKAGES], capture_output=True, text=True)
    with tarfile.open(into, "w") as tar:
        for folder in ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "etc", "tmp", "proc", "dev", "sys", "run"):
            made = tarfile.TarInfo(folder)
            made.type, made.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            tar.addfile(made)
        for name, target in LINKS.items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            tar.addfile(link)
        lines = [line for line in listed.stdout.splitlines() if line.startswith("/")]  # others tell of diversions
        found = {path.parent.resolve() / path.name for line in lines if (path := Path(line))}
        for path in sorted(found):
            if path.parent != Path("/") and not path.is_relative_to("/usr/share") and not path.is_dir():
                tar.add(path, str(path), recursive=False)


@contextlib.contextmanager
def docker_daemon(folder: Path) -> Iterator[str]:
    """A Docker daemon with everything in that folder; its address. What it said is in `log` when it does not start."""
    address = f"unix://{folder}/socket"
    options = ["--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid"]
    options += ["--bridge=none", "--iptables=false", "--ip6tables=false", "--host", address]
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen(["dockerd", *options], stdout=log, stderr=log, start_new_session=True)
    try:
        end = time.monotonic() + 30
        while subprocess.run(["docker", "--host", address, "version"], capture_output=True).returncode:
            if daemon.poll() is not None or time.monotonic() > end:
                raise NoEngine((folder / "log").read_text(errors="replace").strip().splitlines()[-1])
            time.sleep(0.1)
        yield address
    finally:
        daemon.terminate()
        daemon.wait(30)


@contextlib.contextmanager
def running(engine: str) -> Iterator[None]:
    """An engine that answers, with the base image as MLGYM_IMAGE; raises NoEngine with what it says where none can."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary, pytest.MonkeyPatch.context() as patch:
        folder = Path(temporary)
        daemon = contextlib.ExitStack()
        if engine == "docker" and not os.environ.get("DOCKER_HOST"):
            patch.setenv("DOCKER_HOST", daemon.enter_context(docker_daemon(folder)))
        with daemon:
            if engine == "podman" and os.geteuid() == 0:
                (folder / "storage.conf").write_text(PODMAN_STORAGE.format(folder))
                (folder / "containers.conf").write_text(PODMAN)
                patch.setenv("CONTAINERS_STORAGE_CONF", f"{folder}/storage.conf")
                patch.setenv("CONTAINERS_CONF", f"{folder}/containers.conf")
            base_tar(folder / "base.tar")
            made = subprocess.run([engine, "import", f"{folder}/base.tar", BASE], capture_output=True, text=True)
            if made.returncode:
                raise NoEngine(made.stderr.strip())
            patch.setenv("MLGYM_IMAGE", BASE)
            yield


def why_not(engine: str) -> str:
    """Why no test can run on an engine here, empty where one can."""
    if not shutil.which(engine):
        return f"{engine} is not installed"
    if not shutil.which("dpkg-query"):
        return "the base image of the tests is made of Debian's packages"
    if engine == "docker" and os.geteuid() and not os.environ.get("DOCKER_HOST"):
        return "only root can start a Docker daemon (or set DOCKER_HOST)"
    if engine == "docker" and not os.environ.get("DOCKER_HOST") and not shutil.which("dockerd"):
        return "there is no dockerd to start"
    return ""
