"""`mlgym serve`: environments for trainers elsewhere, over OpenEnv's wire protocol."""

import contextlib
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from mlgym.cli.app import Debug, SandboxName, app
from mlgym.errors import UsageError


@app.command()
def serve(
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            "-t", "--task", metavar="NAME", help="A task, suite or family to offer; may be repeated; else train."
        ),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Its port; 0: one that is free.")] = 8000,
    tokens: Annotated[
        Path | None,
        typer.Option(
            "--tokens", metavar="FILE", help="Tokens that let clients in, one a line; else one is drawn and shown."
        ),
    ] = None,
    sessions: Annotated[int, typer.Option("--sessions", metavar="N", min=1, help="Sessions at once.")] = 64,
    per_token: Annotated[int | None, typer.Option("--per-token", metavar="N", min=1, help="Of each token.")] = None,
    idle: Annotated[
        float, typer.Option("--idle", metavar="S", min=1, help="Seconds after which an idle session is closed.")
    ] = 900.0,
    answer: Annotated[
        float, typer.Option("--answer", metavar="S", min=0.1, max=60, help="Seconds until an action becomes a job.")
    ] = 20.0,
    reward: Annotated[str, typer.Option("--reward", help="The reward where a client names none.")] = "shaped",
    name: Annotated[
        list[str] | None, typer.Option("--name", metavar="HOST", help="A further host name of this server.")
    ] = None,
    sandbox: SandboxName = "auto",
    include_eval: Annotated[
        bool, typer.Option("--include-eval", help="Offer the benchmark's own tasks too: to evaluate, not to train.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Give environments to trainers: OpenEnv's clients and `environments = "http://…"` of a recipe.

    Ctrl-C, or SIGTERM, closes all sandboxes and ends it.
    """
    try:
        from mlgym.serve import Bounds, Offer, Server, is_local, read_tokens
    except ImportError as error:
        raise UsageError(f"{error.name} is missing: pip install 'mlgym-env[serve]'.") from error

    given = os.environ.get("MLGYM_SERVE_TOKEN", "")
    server = Server(
        Offer(tasks or ["train"], include_eval, reward),
        host=host,
        port=port,
        tokens=read_tokens(tokens) if tokens else (given,) if given else (),
        bounds=Bounds(sessions=sessions, per_token=per_token or sessions, idle_s=idle, answer_s=answer),
        names=name or (),
        options={"sandbox": sandbox},
    )
    if not is_local(host):
        print(f"What goes to {host} is not encrypted, the token neither: better go through ssh -L.", file=sys.stderr)
    shown = server.address if not (tokens or given) else server.address.rpartition("/")[0] + "/TOKEN"
    print(f"Serving at {shown}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):  # the signal that stopped it, once more
        server.run()
    print("Stopped; all sandboxes are closed.", file=sys.stderr)
