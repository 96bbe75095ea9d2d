"""One call of the engine: rows go through their episodes side by side, and come back in their order.

The policy acts on the calling thread, for all rows that are ready together; environments act on workers, so that a long
command holds up nothing but its own row.
"""

import hashlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from mlgym.errors import MlgymError, ModelError, StorageError, UsageError
from mlgym.rl.live import LOST, Live, Row
from mlgym.rl.policy import Sampled
from mlgym.rl.protocols import asked, opening
from mlgym.rl.talk import Talk
from mlgym.trajectory import Trajectory

if TYPE_CHECKING:
    from mlgym.rl.engine import Engine

GATHER_S = 0.005  # what becomes ready within these seconds of the one before is sampled with it
GRACE_S = 20.0  # seconds after the deadline in which an action may end by itself
AGAIN = 1  # times that a row is tried again which was lost to the infrastructure
ROOM = 8  # tokens that a reply must have room for, where it may have so many


class Round:
    """The rows of one call on their way."""

    def __init__(self, engine: "Engine", rows: Sequence[Row], number: int) -> None:
        self.engine, self.rows, self.number = engine, rows, number
        self.until = None if engine.deadline is None else time.monotonic() + engine.deadline
        self.waiting = deque(self._live(place, row) for place, row in enumerate(rows))
        self.going: set[Live] = set()
        self.ready: list[Live] = []
        self.killed = False
        self.done: dict[int, Trajectory] = {}
        self.events: SimpleQueue[tuple[Live, Sampled | None, BaseException | None]] = SimpleQueue()
        self.workers = ThreadPoolExecutor(max(1, min(engine.parallel, len(rows))), "mlgym-rollout")

    def run(self) -> list[Trajectory]:
        """All rows to their end."""
        try:
            while len(self.done) < len(self.rows):
                self._start()
                self._hear()
                if self._late():
                    self._stop()
                elif self.ready:
                    self._sample()
        finally:
            for live in self.going:
                live.close()
            self.workers.shutdown(cancel_futures=True)
        return [self.done[place] for place in range(len(self.rows))]

    def _live(self, place: int, row: Row, again: int = 0) -> Live:
        engine = self.engine
        return Live(place, row, engine.make, engine.keep, engine.protocol, again)

    def _late(self) -> bool:
        return self.until is not None and time.monotonic() >= self.until

    def _start(self) -> None:
        """Open as many episodes as may be open."""
        while self.waiting and len(self.going) < self.engine.parallel and not self._late():
            live = self.waiting.popleft()
            self.going.add(live)
            self._give(live, live.open, self.until)

    def _give(self, live: Live, job: Callable[..., Any], *args: Any) -> None:
        """Let a worker do something for a row; an event tells of its end."""

        def work() -> None:
            try:
                made = job(*args)
            except BaseException as error:
                self.events.put((live, None, error))
            else:
                self.events.put((live, made, None))

        self.workers.submit(work)

    def _hear(self) -> None:
        """Take what the workers have done; waits for it where nothing is ready, and a little for more to join in."""
        while len(self.ready) < len(self.going):
            try:
                self._take(*self.events.get(timeout=GATHER_S if self.ready else self._patience()))
            except Empty:
                return
            self._start()

    def _patience(self) -> float | None:
        """Seconds until something must be done about what the workers do, None for never."""
        if self.until is None or self.killed:
            return None
        return max(0.0, self.until + (GRACE_S if self._late() else 0.0) - time.monotonic())

    def _take(self, live: Live, sampled: Sampled | None, error: BaseException | None) -> None:
        """Go on with a row whose worker is done."""
        if error is not None:
            self._failed(live, error)
        elif live.trajectory is not None:
            self._over(live)
        else:
            try:
                self._next(live) if sampled is None else self._replied(live, sampled)
            except ModelError as failure:  # a server renders what the policy reads
                self._failed(live, failure)

    def _failed(self, live: Live, error: BaseException) -> None:
        """A failure of the infrastructure that may pass loses the row; any other is raised."""
        passing = isinstance(error, OSError) or (isinstance(error, MlgymError) and not error.lasting)
        if not passing or isinstance(error, UsageError | StorageError):
            raise error
        live.over(str(error))
        self._over(live)

    def _over(self, live: Live) -> None:
        """Keep the trajectory, or try the row again where the infrastructure lost it."""
        self.going.discard(live)
        assert live.trajectory is not None
        if live.trajectory.reward is None and live.again < AGAIN and not self._late():
            self.waiting.appendleft(self._live(live.place, live.row, live.again + 1))
        else:
            self.done[live.place] = live.trajectory

    def _next(self, live: Live) -> None:
        """Tell the row what came of its last reply, and have it ready for the next one."""
        engine, session = self.engine, live.session
        assert session is not None
        if live.talk is None:
            messages = opening(engine.prompt, engine.protocol, session.brief)
            tools = session.brief.tools if engine.protocol == "tools" else ()
            live.talk = Talk(engine.policy, messages, tools)
            if not self._fits(live, 0):
                raise UsageError(
                    f"The prompt of {live.row.task} has {len(live.talk.prompt)} tokens, which leaves no room for a "
                    f"reply in the context of {engine.context}: give more, or another prompt."
                )
        elif live.wrong >= engine.give_up:
            return self._give(live, live.end, "gave_up")
        else:
            told = live.talk.follow(live.pending)
            if not self._fits(live, len(told)):
                return self._give(live, live.end, "context", "context")
            live.talk.told(told)
        self.ready.append(live)

    def _fits(self, live: Live, more: int) -> bool:
        """Whether there is room for a reply after `more` tokens."""
        return self._room(live, more) >= min(ROOM, self.engine.max_tokens)

    def _room(self, live: Live, more: int) -> int:
        """How many tokens the next reply may have, after `more` that come before it."""
        assert live.talk is not None
        most, context = self.engine.max_tokens, self.engine.context
        return most if context is None else min(most, context - len(live.talk.prompt) - len(live.talk.ids) - more)

    def _sample(self) -> None:
        """A reply for each row that is ready."""
        policy, batch, self.ready = self.engine.policy, self.ready, []
        asks = [(live.talk.seen if live.talk else [], self._room(live, 0), self._seed(live)) for live in batch]
        if policy.parallel:
            for live, ask in zip(batch, asks, strict=True):
                self._give(live, lambda ask=ask: policy.sample(*([each] for each in ask))[0])
            return
        for live, sampled in zip(batch, policy.sample(*zip(*asks, strict=True)), strict=True):
            self._replied(live, sampled)

    def _replied(self, live: Live, sampled: Sampled) -> None:
        """Do what a reply asks for."""
        assert live.talk is not None and live.session is not None
        if sampled.why:
            live.over(sampled.why)
            return self._over(live)
        if not sampled.ids:
            return self._give(live, live.end, "context", "context")
        cut = sampled.stop == "length" and self._room(live, 0) < self.engine.max_tokens
        text = live.talk.said(sampled)
        if cut:
            live.talk.mark(stop="context")
        live.said(text)
        turn = len(live.talk.turns)
        self._give(live, live.act, asked(text, sampled.stop, self.engine.protocol, live.session.brief, turn))

    def _seed(self, live: Live) -> int:
        """What the sampler draws by: the engine's seed, this call of it, the row's place and the turn."""
        turn = len(live.talk.turns) if live.talk else 0
        text = f"{self.engine.seed} {self.number} {live.place} {turn}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1  # servers take 31 bits

    def _stop(self) -> None:
        """The deadline has passed: what waits is not begun, what is ready is graded as it stands, and what takes longer
        than the grace for it loses its sandbox.
        """
        if not self.killed and not self._patience():
            self.killed = True
            for live in self.going:
                live.kill()
        for live in self.waiting:
            live.over(LOST)
            self._over(live)
        self.waiting.clear()
        ready, self.ready = self.ready, []
        for live in ready:
            if live.talk and live.talk.turns:
                self._give(live, live.end, "time", "deadline")
            else:
                live.over(LOST)
                self._over(live)
