"""The graphics cards of this machine, as `nvidia-smi` tells them; a machine without that program has none."""

import os
import re
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

DRIVER = Path("/proc/driver/nvidia/gpus")
SMI_S = 20


@dataclass(frozen=True)
class Card:
    """One card: its `index` as nvidia-smi counts, megabytes of memory, and of those what each process (pid) holds."""

    index: int
    uuid: str
    name: str
    total_mb: int
    free_mb: int
    held: tuple[tuple[int, int], ...] = ()

    def foreign_mb(self, ours: int | None = None) -> int:
        """Megabytes that processes hold which are not descendants of the process `ours` (this one by default)."""
        root = os.getpid() if ours is None else ours
        return sum(mb for pid, mb in self.held if not descends(pid, root))


def cards() -> list[Card]:
    """Every card, by index; none where nvidia-smi is missing, fails, or does not answer."""
    about = _asked("--query-gpu=index,uuid,name,memory.total,memory.free")
    held = _asked("--query-compute-apps=gpu_uuid,pid,used_memory") if about else []
    found = []
    for index, uuid, name, total, free in (row for row in about if len(row) == 5):
        holders = tuple((_number(row[1]), _number(row[2])) for row in held if len(row) == 3 and row[0] == uuid)
        found.append(Card(_number(index), uuid, name, _number(total), _number(free), holders))
    return sorted(found, key=lambda card: card.index)


def minor(card: Card) -> int:
    """The number in the card's device file /dev/nvidiaN, which is not always its index."""
    for about in DRIVER.glob("*/information"):
        with suppress(OSError):
            text = about.read_text()
            number = re.search(r"Device Minor:\s*(\d+)", text)
            if number and card.uuid in text:
                return int(number[1])
    return card.index


def descends(pid: int, root: int) -> bool:
    """Whether the process is `root` or has been started by it, directly or not."""
    while pid > 1:
        if pid == root:
            return True
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return pid == root


def _asked(query: str) -> list[list[str]]:
    """The rows of nvidia-smi's answer, empty where there is none."""
    command = ["nvidia-smi", query, "--format=csv,noheader,nounits"]
    try:
        ran = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=SMI_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return (
        [re.split(r",\s*", row.strip()) for row in ran.stdout.splitlines() if row.strip()] if not ran.returncode else []
    )


def _number(text: str) -> int:
    """A figure; 0 for what the driver does not tell, such as [N/A]."""
    return int(text) if text.isdigit() else 0
