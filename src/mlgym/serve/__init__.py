"""`mlgym serve`: environments for clients elsewhere, over OpenEnv's wire protocol (docs/serve.md)."""

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from typing import Any

import uvicorn

from mlgym import guard
from mlgym.guard import Guard, is_local, patient, read_tokens
from mlgym.offer import Offer
from mlgym.serve.app import application
from mlgym.serve.sessions import AT_ONCE_S, Bounds, House

__all__ = ["Bounds", "Offer", "Server", "is_local", "read_tokens", "served"]


class Server(guard.Hearing):
    """A server of an offer, bound to `host` and `port` (0: any that is free) but not yet running.

    `tokens` are those that let a client in; one is drawn where none is given. `names` are further host names by which
    clients speak to it, `options` those of every session (sandbox …). `address` is where the holder of the first token
    finds it. Raises UsageError where the port is taken.
    """

    def __init__(
        self,
        offer: Offer,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tokens: Sequence[str] = (),
        bounds: Bounds | None = None,
        names: Sequence[str] = (),
        options: dict[str, Any] | None = None,
    ) -> None:
        bounds = bounds or Bounds()
        self.tokens = guard.sound(tokens) or (guard.drawn(),)
        self.socket = guard.bound(host, port)
        self.house = House(offer, bounds, options or {})
        self.loop: asyncio.AbstractEventLoop | None = None
        app = Guard(application(self.house), self.tokens, [host, *names])
        config = uvicorn.Config(
            app,
            http=patient(bounds.connections),
            ws="websockets-sansio",
            ws_max_size=bounds.message,
            ws_per_message_deflate=False,
            lifespan="on",
            log_config=None,
            log_level="error",
            access_log=False,  # a path may hold a token
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=120,
            timeout_graceful_shutdown=int(AT_ONCE_S),
            limit_concurrency=None,
        )
        super().__init__(config)

    @property
    def address(self) -> str:
        """The address with the first token."""
        return guard.address(self.socket, self.tokens[0])

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until `stop`, or a signal in the main thread."""
        super().run(sockets or [self.socket])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        self.loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def stop(self) -> None:
        """Close all sandboxes at once, for which requests wait, and end, from any thread."""
        super().stop()
        if self.loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                asyncio.run_coroutine_threadsafe(self.house.shut(), self.loop)


def served(offer: Offer, **settings: Any) -> contextlib.AbstractContextManager[Server]:
    """A server in a thread of this process, as long as the context is open; settings as those of Server."""
    return Server(offer, **settings).aside()
