"""Where the environments of an engine are: in this process, at a server, or on a Ray cluster."""

from collections.abc import Callable

from mlgym.errors import UsageError
from mlgym.session import LocalSession, Session

Open = Callable[..., Session]


class Places:
    """Opens sessions: `environments` is how many at once in this process, the address of `mlgym serve`, or ray://auto,
    ray://local or ray://HOST:PORT. `most` is how many may be open at once; `token` is the server's.
    """

    def __init__(self, environments: int | str, token: str = "") -> None:
        self.open: Open = LocalSession
        self.close: Callable[[], None] = lambda: None
        if isinstance(environments, int):
            self.most = environments
        elif environments.startswith(("http://", "https://")):
            from mlgym import remote

            self.most = remote.places(environments, token)
            self.open = lambda task, **options: remote.RemoteSession(environments, task, token, **options)
        elif environments.startswith("ray://"):
            from mlgym.launchers.sessions import RaySessions

            cluster = RaySessions(environments.removeprefix("ray://"))
            self.most, self.open, self.close = cluster.places, cluster.open, cluster.close
        else:
            raise UsageError(
                f"The environments are a number, http://HOST:PORT of 'mlgym serve' or ray://auto, not '{environments}'."
            )
        if self.most < 1:
            raise UsageError("An engine needs at least one environment.")
