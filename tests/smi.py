"""A program `nvidia-smi` for tests: it prints what stands in a folder, in the form of the real one."""

import os
from pathlib import Path

import pytest

PROGRAM = """#!/bin/sh
case "$1" in
--query-gpu=index,uuid,name,memory.total,memory.free) cat "{folder}/cards" ;;
--query-compute-apps=gpu_uuid,pid,used_memory) cat "{folder}/held" ;;
*) exit 6 ;;
esac
"""


class Smi:
    """The program in a folder on PATH; `cards` are (total, free) megabytes, `held` (card, pid, megabytes)."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder / "smi"
        self.folder.mkdir()
        program = self.folder / "nvidia-smi"
        program.write_text(PROGRAM.format(folder=self.folder))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{self.folder}:{os.environ['PATH']}")

    def say(self, *cards: tuple[int, int], held: tuple[tuple[int, int, int], ...] = ()) -> None:
        """What it prints from now on."""
        rows = [f"{i}, GPU-{i}-uuid, Card A{i}, {total}, {free}\n" for i, (total, free) in enumerate(cards)]
        (self.folder / "cards").write_text("".join(rows))
        (self.folder / "held").write_text("".join(f"GPU-{card}-uuid, {pid}, {mb}\n" for card, pid, mb in held))
