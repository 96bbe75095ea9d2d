"""The shipped forgeries: honest submissions with a fraud beside or inside them, none of which may raise the score.

Each starts from the task's own baseline. With its defence at work it scores what the baseline scores, or is refused;
`run_without` shows that the same fraud pays where the defence is missing.
"""

from mlgym.grading.forgeries.forgery import DEFENCES, Forgery
from mlgym.grading.forgeries.library import FORGERIES, fitting, guarded, tenth
from mlgym.grading.forgeries.trial import Outcome, run_forgeries
from mlgym.grading.forgeries.without import run_without

__all__ = ["DEFENCES", "FORGERIES", "Forgery", "Outcome", "fitting", "guarded", "run_forgeries", "run_without", "tenth"]
