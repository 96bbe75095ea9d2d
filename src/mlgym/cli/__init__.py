"""The command line: thin verbs over the library. Errors are one sentence and an exit code; `--debug` shows the rest."""

import os
import signal
import sys
import tempfile
import threading
import traceback
from pathlib import Path

from mlgym.cli import (  # noqa: F401 - in the order of the help
    data,
    episodes,
    grids,
    look,
    mcp,
    models,
    reports,
    serve,
    tasks,
    training,
    trust,
    view,
)
from mlgym.cli.app import app, tell
from mlgym.cli.archive import import_, pack, verify  # noqa: F401
from mlgym.disk import is_full
from mlgym.errors import MlgymError
from mlgym.interrupts import code

__all__ = ["app", "main"]

INTERRUPTED = "Interrupted; the same command goes on."


def main() -> None:
    """The entry point: reads `.env`, maps every failure to one sentence and an exit code."""
    debug = "--debug" in sys.argv
    stopped = _stoppable()
    try:
        from dotenv import load_dotenv

        load_dotenv(Path(".env"))
        ended = app(prog_name="mlgym", standalone_mode=False)  # the code of a typer.Exit, 130 after an interrupt
    except MlgymError as error:
        _fail(str(error), error.exit_code, debug)
    except KeyboardInterrupt:  # before the verb had begun
        _fail(INTERRUPTED, stopped[0] if stopped else 130, debug)
    except Exception as error:
        if isinstance(error, OSError) and is_full(error):
            _fail(f"The disk is full ({error}): make room, and the same command goes on.", 1, debug)
        _unexpected(error, debug)
    else:
        if ended == 130:
            _fail(INTERRUPTED, stopped[0] if stopped else 130, debug)
        _leave(ended or 0)


def _stoppable() -> list[int]:
    """Let SIGTERM, SIGHUP and SIGUSR1 end the program as Ctrl-C does, so that nothing is left behind; gets the exit
    code. A grid of episodes hears them otherwise while it runs (`interrupts`).
    """
    codes: list[int] = []

    def stop(number: int, frame: object) -> None:
        codes.append(code(number))
        signal.signal(number, signal.SIG_IGN)  # one is enough: what follows is the tidying up
        raise KeyboardInterrupt

    for name in ("SIGTERM", "SIGHUP", "SIGUSR1"):
        number = getattr(signal, name, None)
        if number and signal.getsignal(number) == signal.SIG_DFL:  # nohup's SIG_IGN stays
            signal.signal(number, stop)
    return codes


def _unexpected(error: Exception, debug: bool) -> None:
    """Typer's own usage errors in a sentence; anything else with its traceback in a log file."""
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):
        _fail(str(error.format_message()), int(error.exit_code), debug)
    with tempfile.NamedTemporaryFile("w", prefix="mlgym-error-", suffix=".log", delete=False) as log:
        log.write(traceback.format_exc())
    _fail(f"mlgym failed ({type(error).__name__}: {error}); the traceback is in {log.name}.", 1, debug)


def _fail(sentence: str, code: int, debug: bool) -> None:
    if debug:
        tell(traceback.format_exc())
    tell(sentence)
    _leave(code)


def _leave(code: int) -> None:
    """Exit, at once where episodes still run in threads: their sandboxes end with this process, and they can go on."""
    sys.stdout.flush()
    sys.stderr.flush()
    if any(not thread.daemon and thread is not threading.main_thread() for thread in threading.enumerate()):
        from mlgym.sandbox import cgroups

        cgroups.clear()
        os._exit(code)
    sys.exit(code)
