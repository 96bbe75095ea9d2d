"""Word of what changes in a store: one watcher for all who listen, and none while nobody does."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field

from starlette.concurrency import run_in_threadpool

from mlgym.viewer.store import Store

EVERY_S = 0.5  # between two looks, and more where looking takes long
SILENT_S = 15.0  # after which a comment shows that the connection lives


@dataclass(eq=False)
class Listener:
    """What has changed that one client was not told yet."""

    changed: set[str] = field(default_factory=set)
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class Live:
    """Tells listeners which episodes of a store have changed."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.listeners: set[Listener] = set()
        self.watcher: asyncio.Task[None] | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.stopped = False
        self.looked = time.monotonic()

    def look(self) -> None:
        """Look for what is new before a document is made, where nobody listens and it was not done just now."""
        if not self.listeners and time.monotonic() - self.looked > EVERY_S:
            self.looked = time.monotonic()
            self.store.refresh()

    async def listen(self) -> AsyncIterator[bytes]:
        """Server-sent events from now on, until `stop`."""
        self.loop = asyncio.get_running_loop()
        listener = Listener()
        self.listeners.add(listener)
        if self.watcher is None or self.watcher.done():
            self.watcher = asyncio.create_task(self._watch())
        try:
            yield b": looking\n\n"
            while not self.stopped:
                with suppress(TimeoutError):
                    await asyncio.wait_for(listener.wake.wait(), SILENT_S)
                if self.stopped:
                    return
                changed, listener.changed = sorted(listener.changed), set()
                listener.wake.clear()
                told = json.dumps({"runs": self.store.version, "changed": changed})
                yield f"data: {told}\n\n".encode() if changed else b": nothing new\n\n"
        finally:
            self.listeners.discard(listener)

    def stop(self) -> None:
        """Let all who listen go, from any thread or signal."""
        self.stopped = True
        if self.loop is not None:
            with suppress(RuntimeError):  # it has ended
                self.loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for listener in self.listeners:
            listener.wake.set()

    async def _watch(self) -> None:
        """Look again and again while anybody listens."""
        while self.listeners and not self.stopped:
            began = time.monotonic()
            if changed := await run_in_threadpool(self.store.refresh):
                for listener in self.listeners:
                    listener.changed |= changed
                self._wake()
            await asyncio.sleep(max(EVERY_S, 4 * (time.monotonic() - began)))
