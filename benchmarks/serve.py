"""Sessions at a server: python benchmarks/serve.py [--write] [--most 64] [--sandbox NAME].

First a step of the command `true`, here, at a server of this machine by our own client, and in a WebSocket as OpenEnv's
client sends it. Then rounds of `--most` sessions and fewer at once, each of which sleeps for half a second: by itself,
and as a job where the server answers after a tenth of a second. `--write` records the table in benchmarks/serve.md.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from record import record
from websockets.sync.client import connect

from mlgym.remote import RemoteSession
from mlgym.sandbox import choose
from mlgym.serve import Bounds, Offer, Server, served
from mlgym.session import LocalSession

FOLDER = Path(__file__).parent.parent / "examples" / "guess"
STEPS, SLEEP = 18, "sleep 0.5"  # the task has 20 steps


def milliseconds(step: Callable[[], object]) -> str:
    """The median of a step."""
    took = []
    for _ in range(STEPS):
        began = time.perf_counter()
        step()
        took.append(1000 * (time.perf_counter() - began))
    return f"{statistics.median(took):.1f} ms"


def steps(server: Server, sandbox: str) -> Iterator[tuple[str, str]]:
    """The rows of a single session."""
    local = LocalSession(FOLDER, sandbox=sandbox, limits=None)
    local.reset()
    yield "a step here", milliseconds(lambda: local.act("true"))
    local.close()
    remote = RemoteSession(server.address, FOLDER.name)
    remote.reset()
    yield "by RemoteSession", milliseconds(lambda: remote.act("true"))
    remote.close()
    with connect(server.address.replace("http", "ws", 1) + "/ws") as socket:

        def say(kind: str, **data: object) -> object:
            socket.send(json.dumps({"type": kind, "data": data}))
            return json.loads(socket.recv())

        say("reset", task=FOLDER.name)
        yield "in a WebSocket", milliseconds(lambda: say("step", text="true"))
        socket.send('{"type": "close"}')


def round_of(server: Server, sessions: int) -> str:
    """Seconds of a round of sleeping steps, one of each session."""
    many = [RemoteSession(server.address, FOLDER.name) for _ in range(sessions)]
    with ThreadPoolExecutor(sessions) as pool:
        list(pool.map(lambda session: session.reset(), many))
        list(pool.map(lambda session: session.act("true"), many))
        began = time.perf_counter()
        list(pool.map(lambda session: session.act(SLEEP), many))
        took = time.perf_counter() - began
        list(pool.map(lambda session: session.close(), many))
    return f"{took:.2f} s"


def rows(most: int, sandbox: str) -> Iterator[tuple[str, str]]:
    """The rows of the table."""
    for answer_s, how in ((20.0, ""), (0.1, ", as jobs")):
        bounds = Bounds(sessions=most, per_token=most, answer_s=answer_s)
        with served(Offer([str(FOLDER)]), bounds=bounds, options={"sandbox": sandbox}) as server:
            if not how:
                yield from steps(server, sandbox)
            sessions = min(8, most)
            while sessions <= most:
                yield f"{sessions} at once that sleep 0.5 s{how}", round_of(server, sessions)
                sessions *= 2


def main() -> None:
    """Print the table, and record it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="record the table in benchmarks/serve.md")
    parser.add_argument("--most", type=int, default=64)
    parser.add_argument("--sandbox", default="auto")
    args = parser.parse_args()
    backend = choose(args.sandbox)
    record("serve", ("what", "takes"), list(rows(args.most, args.sandbox)), args.write, backend.name)


if __name__ == "__main__":
    main()
