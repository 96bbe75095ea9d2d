"""Graders by kind, for hidden task modules: `from kinds import InvalidSubmission`, `from kinds.tables import …`.

Mounted for the grader alone; nothing here imports the rest of mlgym.
"""


class InvalidSubmission(Exception):
    """The submission cannot be scored; the message is one sentence, shown to the agent, and holds no answers."""
