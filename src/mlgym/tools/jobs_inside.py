"""How jobs are, seen from inside a sandbox: standard library only, sent in as text by `jobs.py`.

Arguments: the seconds to wait until none of the jobs runs, and their folders. Prints a line for each: `running`,
`ended CODE TIME`, or `gone`.
"""

import sys
import time


def pids(folder: str) -> list[int]:
    """The processes that keep a job's time, without those that are gone: the script `run` and its `timeout`."""
    try:
        with open(f"{folder}/pids") as file:
            told = [int(word) for word in file.read().split()[:2]]
    except (OSError, ValueError):
        return []
    return [pid for pid, script in zip(told, ("run", "command"), strict=False) if executes(pid, f"{folder}/{script}")]


def executes(pid: int, script: str) -> bool:
    """Whether that process was started with the script: another may have got its number."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().endswith(f"\0{script}\0".encode())
    except OSError:
        return False


def state(folder: str) -> str:
    """The line for a job."""
    if pids(folder):
        return "running"
    try:
        with open(f"{folder}/end") as file:
            return f"ended {file.readline(200).strip()}"
    except (OSError, ValueError):
        return "gone"


def main(seconds: str, *folders: str) -> None:
    """Wait, and tell."""
    end, pause = time.monotonic() + float(seconds), 0.02
    while (left := end - time.monotonic()) > 0 and any(map(pids, folders)):
        time.sleep(min(pause, left))
        pause = min(1.2 * pause, 1.0)
    print(*map(state, folders), sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
