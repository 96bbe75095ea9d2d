"""Verbs about language models: which can be used now, and one short call of one."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from mlgym.cli import options as given
from mlgym.cli.app import AsJson, Debug, app

if TYPE_CHECKING:
    from mlgym.models.usable import Usable

models_app = typer.Typer(invoke_without_command=True)
app.add_typer(models_app, name="models")

SHOWN = 3


@models_app.callback()
def models(context: typer.Context, as_json: AsJson = False, debug: Debug = False) -> None:
    """List the providers of models that can be used now, and what the others need; `models test` calls one."""
    if context.invoked_subcommand is not None:
        return
    from mlgym.models.usable import usable

    found = usable()
    if as_json:
        print(json.dumps([one._asdict() for one in found], indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    rows = [(one.provider, one.missing or ("ready" if one.served else "told no names"), _some(one)) for one in found]
    table = Table(box=None, header_style="bold", pad_edge=False, expand=True)
    for place, name in enumerate(("provider", "state")):
        table.add_column(name, min_width=max(len(row[place]) for row in rows))
    table.add_column("models", ratio=1, no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, markup=False).print(table)
    print("`mlgym models test PROVIDER/NAME` calls one; a server elsewhere is named with --base-url.")


def _some(one: "Usable") -> str:
    """The first models of a provider: those that it serves, else those that have a price."""
    names = one.served or one.priced
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{'serves' if one.served else 'priced:'} {', '.join(names[:SHOWN])}{more}" if names else ""


@models_app.command()
def test(
    name: Annotated[str, typer.Argument(help="provider/model, as for `mlgym run -m`.")],
    base_url: given.BaseUrl = "",
    sampling: given.Sampling = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Make one short call with one tool: reachable, key, name, tools, context, price."""
    from mlgym.models import preflight

    found = preflight.trial(name, base_url, given.settings(sampling or []))
    reply, price = found.reply, preflight.cost(name, base_url)
    told = {
        "model": name,
        "native_tools": found.native,
        "context": found.context,
        "price": price,
        "seconds": round(found.seconds, 3),
        "returned": reply.model if reply else "",
        "upstream": reply.upstream if reply else "",
        "quantization": reply.quantization if reply else "",
        "unpinned": bool(reply and reply.unpinned),
        "money": reply.money if reply else None,
    }
    print(json.dumps(told, indent=1) if as_json else f"{found.line} Price: {price}.")
