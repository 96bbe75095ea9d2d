"""The command line: thin verbs over the library. Errors are one sentence and an exit code; `--debug` shows the rest."""

import os
import sys
import tempfile
import threading
import traceback
from pathlib import Path

from mlgym.cli import episodes, look, tasks, trust  # noqa: F401 - in the order of the help
from mlgym.cli.app import app
from mlgym.errors import MlgymError

__all__ = ["app", "main"]


def main() -> None:
    """The entry point: reads `.env`, maps every failure to one sentence and an exit code."""
    debug = "--debug" in sys.argv
    try:
        from dotenv import load_dotenv

        load_dotenv(Path(".env"))
        code = app(prog_name="mlgym", standalone_mode=False)  # the code of a typer.Exit, 130 after an interrupt
    except MlgymError as error:
        _fail(str(error), error.exit_code, debug)
    except Exception as error:
        _unexpected(error, debug)
    else:
        if code == 130:
            _fail("Interrupted; the same command goes on.", 130, debug)
        _leave(code or 0)


def _unexpected(error: Exception, debug: bool) -> None:
    """Typer's own usage errors in a sentence; anything else with its traceback in a log file."""
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):
        _fail(str(error.format_message()), int(error.exit_code), debug)
    with tempfile.NamedTemporaryFile("w", prefix="mlgym-error-", suffix=".log", delete=False) as log:
        log.write(traceback.format_exc())
    _fail(f"mlgym failed ({type(error).__name__}: {error}); the traceback is in {log.name}.", 1, debug)


def _fail(sentence: str, code: int, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    print(sentence, file=sys.stderr)
    _leave(code)


def _leave(code: int) -> None:
    """Exit, at once where episodes still run in threads: their sandboxes end with this process, and they can go on."""
    sys.stdout.flush()
    sys.stderr.flush()
    if any(not thread.daemon and thread is not threading.main_thread() for thread in threading.enumerate()):
        os._exit(code)
    sys.exit(code)
