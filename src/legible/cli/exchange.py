"""`legible export` and `legible import`: Parquet datasets shared with other tools."""

from pathlib import Path
from typing import Annotated

import typer

from legible.cli.common import note, print_json


def export(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="Store to export.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The .parquet file; its contract goes beside it.")],
    layer: Annotated[int, typer.Option(help="Layer K, one of the store's.")],
    stage: Annotated[
        str, typer.Option(metavar="base|av_sft|ar_sft|rl", help="Which columns the dataset has.")
    ] = "base",
    teach: Annotated[
        Path | None, typer.Option(help="The teacher's explanations of the store, for av_sft and ar_sft.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")] = False,
) -> None:
    """Write a store as a Parquet dataset that other natural-language-autoencoder tools read.

    \b
      legible export stores/train data.parquet --layer 2
      legible export stores/train sft.parquet --layer 2 --stage av_sft --teach teach/train.jsonl
    """
    from legible.recipes.stages import export_store

    rows = export_store(store, layer, out, stage, teach)
    if json:
        print_json({"parquet": str(out), "rows": rows})
    else:
        note(f"{rows} rows")
        typer.echo(out)


def import_(
    parquet: Annotated[
        Path, typer.Argument(metavar="PARQUET", help="A .parquet dataset with its .nla_meta.yaml beside it.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the new store.")],
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")] = False,
) -> None:
    """Read a Parquet dataset of another tool into a store.

    \b
      legible import data.parquet stores/theirs
    """
    from legible.data.exchange import import_parquet

    store = import_parquet(parquet, out)
    if json:
        print_json({"store": str(out), "rows": len(store), "layers": list(store.layers)})
    else:
        note(f"{len(store)} rows, layers {list(store.layers)}")
        typer.echo(out)


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command()(export)
    app.command(name="import")(import_)
