"""Joining a cluster of Ray, or starting one, without its noise."""

import contextlib
import importlib.util
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlgym.errors import UsageError

KNOCK_S = 10.0


def installed() -> None:
    """Raise UsageError where Ray is not there."""
    if importlib.util.find_spec("ray") is None:
        raise UsageError("--launcher ray needs Ray, which is not installed here: pip install 'mlgym-env[ray]'.")


def joined(address: str) -> tuple[Any, bool]:
    """Ray, and whether this has joined a cluster: the one at that address, or the one that runs on this machine, or
    with `local` one that is started. Where this program uses one already, that is taken.

    Raises UsageError where there is none.
    """
    installed()
    for name, value in _settings(address).items():
        os.environ.setdefault(name, value)  # read when Ray is imported
    import ray

    if ray.is_initialized():
        return ray, False
    options: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    try:
        knock(address)
        with _handlers_kept(), _unheard():
            ray.init(address=address or "auto", log_to_driver=False, logging_level=logging.CRITICAL, **options)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise UsageError(_unreachable(address, error)) from error
    _hush(ray)
    return ray, True


def _settings(address: str) -> dict[str, str]:
    """Variables for Ray, where the user has set none: no statistics for its makers, few lines of its own on the
    terminal, and for a cluster that is started here a token, so that nobody else on the machine can use it.
    """
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    return {**quiet, **token} if address == "local" and "RAY_AUTH_MODE" not in os.environ else quiet


def knock(address: str) -> None:
    """Raise OSError where nobody listens at HOST:PORT; Ray itself would try for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_S).close()


def _unreachable(address: str, error: BaseException) -> str:
    """Why no cluster was joined, in a sentence."""
    why = " ".join(f"{error} {error.__cause__ or ''}".split())
    where = f"at {address}" if address and address != "auto" else "on this machine"
    if "ersion mismatch" in why:
        return f"The Ray cluster {where} has another Ray or Python than this machine: {why}"
    if "uthentication" in why:
        return (
            f"The Ray cluster {where} asks for its token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the token "
            "that it was started with."
        )
    return (
        f"No Ray cluster was found {where}: start one with 'ray start --head', give its address with --ray-address, "
        "or have one started for this run with --ray-address local."
    )


def _hush(ray: Any) -> None:
    """Ray prints what it has noticed to standard output, also where it is asked not to; what was lost we say."""
    if hasattr(ray._private.worker, "print_to_stdstream"):
        ray._private.worker.print_to_stdstream = lambda *_, **__: None


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Drop what is written to standard error meanwhile: Ray's parts in C++ do, whatever they are asked."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextlib.contextmanager
def _handlers_kept() -> Iterator[None]:
    """Ray takes signals for itself; what the caller does with them stays."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        with contextlib.suppress(ValueError, TypeError):  # another thread than the main one, or not Python's
            signal.signal(number, handler)
