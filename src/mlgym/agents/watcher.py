"""Run a command, pass on what it prints, and stop it once it lags behind or takes too long: `watcher.py OPTIONS`.

It is sent into the sandbox with the command, so it takes nothing but the standard library. OPTIONS is JSON: `command`;
`seconds`, the longest it may take; `shape`, `slot` and `sign` of its reports; and `least`, the worst that the best one
so far may be by the first, second, … report (null: no matter). The last line it prints tells how it went.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+|nan|inf)(?!\w)")
MARK = "[watched] "


def numbers(line: str) -> tuple[str, list[float]]:
    """The shape of a line, which is the line without its numbers, and these; a list in brackets counts as its mean."""

    def mean(match: re.Match[str]) -> str:
        found = [float(each) for each in NUMBER.findall(match[1])]
        alone = found and not NUMBER.sub("", match[1]).strip(" ,\t")
        return str(sum(found) / len(found)) if alone else match[0]

    line = re.sub(r"\[([^][]*)\]", mean, line.replace("#", ""))
    return " ".join(NUMBER.sub("#", line).split()), [float(each) for each in NUMBER.findall(line)]


def stop(run: subprocess.Popen[str]) -> None:
    """End a command and all that it started."""
    for kind in (signal.SIGINT, signal.SIGKILL):
        try:
            os.killpg(run.pid, kind)
            run.wait(3)
        except (OSError, subprocess.TimeoutExpired):
            continue


def watch(
    command: str,
    seconds: float,
    shape: str = "",
    slot: int = 0,
    sign: int = 1,
    least: tuple[float | None, ...] = (),
) -> tuple[int, list[float], str]:
    """Run the command; returns its exit code, the reports times `sign`, and why it was stopped: behind, late or ''."""
    run = subprocess.Popen(
        ["bash", "-c", command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        start_new_session=True,
        text=True,
        errors="replace",
    )
    why: list[str] = []

    def late() -> None:
        why.append("late")
        stop(run)

    timer = threading.Timer(seconds, late)
    timer.daemon = True
    timer.start()
    reports: list[float] = []
    for line in run.stdout or ():
        print(line, end="", flush=True)
        found, values = numbers(line)
        if not shape or found != shape or why:
            continue
        reports.append(sign * values[slot])
        bar = least[len(reports) - 1] if len(reports) <= len(least) else None
        if bar is not None and not max(reports) >= bar:
            why.append("behind")
            stop(run)
    timer.cancel()
    return run.wait(), reports, "".join(why[:1])


if __name__ == "__main__":
    began = time.monotonic()
    code, seen, stopped = watch(**json.loads(sys.argv[1]))
    told = {"seconds": round(time.monotonic() - began, 2), "reports": seen, "stopped": stopped}
    print(f"\n{MARK}{json.dumps(told)}", flush=True)
    sys.exit(1 if stopped or not 0 <= code < 256 else code)
