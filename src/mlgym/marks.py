"""The states of an episode that its agent saved by name, and goes back to.

What was done with them is written as marks: "+NAME" was saved, "-NAME" gone back to. The state saved under the empty
name counts if the episode ends before it is gone back to.
"""

from mlgym.env import ResearchEnv
from mlgym.errors import SandboxError
from mlgym.records import Checkpoint, Restore


def mark(move: Checkpoint | Restore) -> str:
    """A move as it is recorded."""
    return ("+" if isinstance(move, Checkpoint) else "-") + move.name


def moved(mark: str) -> Checkpoint | Restore:
    """The move that was recorded as this mark."""
    return Checkpoint(name=mark[1:]) if mark[0] == "+" else Restore(name=mark[1:])


class Marks:
    """The saved states of the episode that `env` has open.

    Going back is put off until something is done there (`settle`), so that what is left again at once is never set up,
    and a state saved twice is one snapshot.
    """

    def __init__(self, env: ResearchEnv) -> None:
        self._env = env
        self._saved: dict[str, str] = {}
        self._at = self._real = ""  # the snapshot that the state is, and that of the sandbox; empty: none since a step

    def unknown(self, mark: str) -> str:
        """What is wrong where a mark goes back to a name under which nothing was saved; empty otherwise."""
        if mark[:1] == "+" or mark[1:] in self._saved:
            return ""
        there = ", ".join(filter(None, self._saved)) or "none"
        return f"There is no checkpoint '{mark[1:]}' of this episode; there are: {there}."

    def do(self, mark: str) -> None:
        """Save the state under a name, or go back to one that is not `unknown`; raises SandboxError.

        Snapshots that no name leads to any more are let go.
        """
        name = mark[1:]
        if mark[0] == "-":
            self._at = self._saved[name]
        elif self._at:
            self._saved[name] = self._at
        else:
            self._saved[name] = self._at = self._real = self._env.snapshot()
        if name == "":
            self._env.counts = self._saved[""] if mark == "+" else ""
        for id in self._env.snapshots - {*self._saved.values(), self._at}:
            self._env.forget(id)

    def settle(self) -> None:
        """Bring the sandbox to the state of the episode; raises SandboxError, with the sandbox gone."""
        if self._at == self._real:
            return
        try:
            self._env.restore(self._at)
        except SandboxError:
            self._env.kill()
            raise
        self._real = self._at

    def acted(self) -> None:
        """Something was done in the state."""
        self._at = self._real = ""
