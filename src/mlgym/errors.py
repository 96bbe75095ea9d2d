"""The exceptions of mlgym, one class for each boundary that an episode can break at.

    MlgymError
    ├── UsageError          what the user gave is wrong: a name, a file, a flag (exit code 2)
    │   ├── TaskError       a task folder is wrong: says the file and the key
    │   └── InUse           another process is running the episode
    ├── SourceError         data or packages cannot be had (offline, checksum, registry)
    ├── StorageError        this machine's disk is full or cannot be written: nothing is torn, the same command goes on
    ├── Stopped             an episode was asked to stop: nothing is torn, the same command goes on (exit code 75)
    ├── ModelError          boundary "model": the provider failed or answered nonsense
    │   ├── ToolsRefused    the server takes no native tool calls (agents fall back to text)
    │   └── Unanswerable    boundary "agent": it answers, but not this conversation, which is the agent's own doing
    ├── BudgetError         boundary "budget": money, tokens or the model's context are used up
    ├── SandboxError        boundary "sandbox": it did not start, or died
    └── GradingError        boundary "grader": the grader itself failed (a bad submission is not an error)

The message of each is one sentence for the user: what was wrong, where, what to do.
"""


class MlgymError(Exception):
    """Anything mlgym raises on purpose; the message is one sentence for the user."""

    boundary = ""
    exit_code = 1
    lasting = False  # whether trying again without a change comes to the same


class UsageError(MlgymError):
    """A name, a file or a flag that the user gave is wrong."""

    exit_code = 2


class TaskError(UsageError):
    """A task folder is wrong; the message names the file and the key."""


class InUse(UsageError):
    """Another process is running the episode."""


class SourceError(MlgymError):
    """Data or packages could not be had."""

    boundary = "data"


class Stopped(MlgymError):
    """An episode was asked to stop; what was recorded stands, and the same command goes on."""

    boundary = "stopped"
    exit_code = 75


class StorageError(MlgymError):
    """This machine's disk is full or cannot be written; what was recorded stands, and the same command goes on."""


class ModelError(MlgymError):
    """The model's provider failed, or its answer cannot be used; `lasting` where the next try comes to the same.

    `after` are the seconds for which the provider asked to be left alone; not `reached` is a server that nobody found;
    `doubtful` is a failure that the conversation itself may have brought about.
    """

    boundary = "model"
    after: float | None = None
    reached = True

    def __init__(self, message: str, lasting: bool = False, doubtful: bool = False) -> None:
        super().__init__(message)
        self.lasting, self.doubtful = lasting, doubtful


class ToolsRefused(ModelError):
    """The server does not take native tool calls."""


class Unanswerable(ModelError):
    """A conversation that the model fails on while it answers a plain question."""

    boundary = "agent"


class BudgetError(MlgymError):
    """A limit of the episode is used up; `limit` names it: money, tokens or context."""

    boundary = "budget"

    def __init__(self, message: str, limit: str = "money") -> None:
        super().__init__(message)
        self.limit = limit


class SandboxError(MlgymError):
    """A sandbox did not start, or died; `lasting` where none can start here."""

    boundary = "sandbox"

    def __init__(self, message: str, lasting: bool = False) -> None:
        super().__init__(message)
        self.lasting = lasting


class GradingError(MlgymError):
    """The grader itself failed; an invalid submission is a verdict, not this. `lasting` where it always does."""

    boundary = "grader"

    def __init__(self, message: str, lasting: bool = False) -> None:
        super().__init__(message)
        self.lasting = lasting
