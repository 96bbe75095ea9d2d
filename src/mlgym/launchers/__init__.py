"""Launchers map a job over episode specs: in this process, in threads, in processes, or on a cluster of Ray.

A launcher takes specs lazily: the next one is asked for when a worker is free. None means that nothing is to be started
now: it asks again after the next outcome, or after about a second. What a job raises is raised; an exception, of the
source or of a job, ends all that runs (it can go on later). An episode whose worker is lost is run again by itself.
"""

import os
import time
from collections.abc import Callable

from mlgym.errors import UsageError
from mlgym.launchers.flow import AGAIN_S, Job, Launched, Launcher, Say, Specs, flow, quiet

__all__ = ["NAMES", "Job", "Launched", "Launcher", "in_process", "launcher", "on_ray", "processes", "threads"]

NAMES = ("threads", "processes", "ray")


def launcher(name: str, n: int | None = None, *, address: str = "", say: Say = quiet) -> Launcher:
    """The launcher of that name, with `n` episodes at once; None is one, on Ray as many as the cluster has room for.

    `address` is for Ray alone (see `on_ray`). `say` is told what was lost and is run again. Raises UsageError.
    """
    if address and name != "ray":
        raise UsageError(f"--ray-address is for --launcher ray, not for {name}.")
    makers: dict[str, Callable[[], Launcher]] = {
        "threads": lambda: in_process if n in (None, 1) else threads(n),
        "processes": lambda: processes(n or 1, say=say),
        "ray": lambda: on_ray(n, address=address, say=say),
    }
    if name not in makers:
        raise UsageError(f"--launcher is {', '.join(NAMES[:-1])} or {NAMES[-1]}, not '{name}'.")
    return makers[name]()


def in_process(job: Job, specs: Specs) -> Launched:
    """One after another, in order."""
    for spec in specs:
        if spec is None:
            time.sleep(AGAIN_S)
        else:
            yield spec, job(spec)


def threads(n: int) -> Launcher:
    """At most `n` at once in threads of this process: an episode mostly waits for sandboxes and servers."""
    from mlgym.launchers.pools import Threads

    return lambda job, specs: flow(Threads(job, n), specs)


def processes(n: int, *, say: Say = quiet) -> Launcher:
    """At most `n` at once, each in a process of its own, which ends when this one does, however it ends.

    The job and its outcomes must be picklable. An episode whose process was killed is run again, AGAINS times at most.
    """
    from mlgym.launchers.pools import Processes

    return lambda job, specs: flow(Processes(job, n, say), specs)


def on_ray(n: int | None = None, *, address: str = "", shared: bool | None = None, say: Say = quiet) -> Launcher:
    """At most `n` at once on the machines of a cluster, which each give what the task of an episode asks for.

    `address` is that of a running cluster; empty for the variable RAY_ADDRESS, or the cluster that runs on this
    machine; `local` starts one for the time of the run. Folders of the job are looked for on each machine, unless
    `shared` says whether all have them: one that has not works in a folder of its own, which is sent back. Raises
    UsageError where Ray is not installed, or no cluster is found.
    """
    from mlgym.launchers.joining import installed

    installed()

    def launch(job: Job, specs: Specs) -> Launched:
        from mlgym.launchers.cluster import Cluster

        where = address or os.environ.get("RAY_ADDRESS", "")
        yield from flow(Cluster(job, n, where, shared, say), specs)

    return launch
