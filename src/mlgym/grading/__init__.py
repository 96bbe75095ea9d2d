"""Grading: the host's side here; `grader_main`, `player_main` and `kinds` run in sandboxes of their own."""

from mlgym.grading.host import Grader, Verdict
from mlgym.grading.submission import collect

__all__ = ["Grader", "Verdict", "collect"]
