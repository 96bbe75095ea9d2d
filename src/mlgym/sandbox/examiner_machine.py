"""The examiner's cases of the machine: processors, and the way to a network through the host's proxy."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from mlgym.sandbox import SandboxSpec, Shell
from mlgym.sandbox.examiner import Case, Place, Skipped, must, python, says
from mlgym.sandbox.proxy import Asked, Proxy

AFFINITY = """
import os
try:
    os.sched_setaffinity(0, range(os.cpu_count()))
except OSError as error:
    print(type(error).__name__)
print(*sorted(os.sched_getaffinity(0)))
"""
FETCH = """
import urllib.error, urllib.request
try:
    urllib.request.urlopen("http://{host}/", timeout=10)
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
except OSError as error:
    print("unreachable")
"""


@contextlib.contextmanager
def shell(place: Place, **fields: Any) -> Iterator[Shell]:
    """A started shell with these fields of its specification."""
    place.count += 1
    workspace = place.folder / f"{place.count}" / "workspace"
    workspace.mkdir(parents=True)
    with Shell(place.backend(SandboxSpec(workspace, **fields))) as opened:
        yield opened


def usable() -> list[int]:
    """The processors that this process may use."""
    if not hasattr(os, "sched_getaffinity"):
        raise Skipped("this system ties no process to processors")
    return sorted(os.sched_getaffinity(0))


def processors(place: Place) -> None:
    """All that runs inside runs on the processors given, and the libraries are told how many."""
    given = usable()[-1]
    with shell(place, processors=(given,)) as inside:
        says(inside, "nproc; echo $OMP_NUM_THREADS $MKL_NUM_THREADS $OPENBLAS_NUM_THREADS $NPROC", "1\n1 1 1 1\n")
        seen = python(inside, "import os; print(*os.sched_getaffinity(0), *os.sched_getaffinity(os.getppid()))")
        must(seen.split() == [str(given)] * 2, f"processors {seen}, not {given}")
    must(usable()[-1] == given and len(usable()) >= 1, "the host's own processors were changed")


def kept(place: Place) -> None:
    """No process leaves the processors that it was given."""
    if place.backend.isolation == "none":
        raise Skipped("nothing is refused where nothing isolates")
    given = usable()[0]
    with shell(place, processors=(given,)) as inside:
        seen = python(inside, AFFINITY).split()
        must(seen == ["PermissionError", str(given)], f"after the attempt it ran on {seen}")
        says(inside, f"taskset -c {usable()[-1]} true 2>/dev/null || echo refused", "refused\n")


def way_out(place: Place) -> None:
    """The proxy is reached, refuses what it must, cannot be killed; without one there is no address at all."""
    place.folder.mkdir(exist_ok=True)
    asked: list[Asked] = []
    with Proxy(["pypi.org"], place.folder, asked.append) as proxy, shell(place, proxy=proxy.path) as inside:
        answer = python(inside, FETCH.format(host="example.org"))
        must(answer.startswith("403 example.org:80 is not among"), f"another host was answered with {answer!r}")
        inside.run("kill -9 -1", 10)
        must(python(inside, FETCH.format(host="a.test")).startswith("403"), "the proxy was killed from inside")
    must([(one.host, one.allowed) for one in asked] == [("example.org", False), ("a.test", False)], f"told of {asked}")
    with shell(place) as inside:
        must(
            python(inside, FETCH.format(host="127.0.0.1:3128")) == "unreachable\n", "something listens without a proxy"
        )


MACHINE = (
    Case("machine: processors", processors),
    Case("machine: no way to other processors", kept),
    Case("machine: the way to a network", way_out, full=True),
)
