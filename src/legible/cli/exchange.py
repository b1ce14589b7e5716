"""`legible export`, `legible import` and `legible import-adapters`: what is shared with other tools."""

from pathlib import Path
from typing import Annotated

import typer

from legible.cli.common import answer, note


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
    from legible.recipes.exchange import export_store

    rows = export_store(store, layer, out, stage, teach)
    note(f"{rows} rows")
    answer({"parquet": str(out), "rows": rows}, out, json=json)


def import_(
    parquet: Annotated[
        Path, typer.Argument(metavar="PARQUET", help="A .parquet dataset with its .nla_meta.yaml beside it.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the new store.")],
    tokenizer: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="The base model's, for token ids and the token lookup.  [default: none]"),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")] = False,
) -> None:
    """Read a Parquet dataset of another tool into a store.

    \b
      legible import data.parquet stores/theirs --tokenizer MODEL
    """
    from legible.data.exchange import import_parquet
    from legible.models.loading import load_tokenizer

    store = import_parquet(parquet, out, tokenizer=load_tokenizer(tokenizer) if tokenizer else None)
    note(f"{len(store)} rows, layers {list(store.layers)}")
    answer({"store": str(out), "rows": len(store), "layers": list(store.layers)}, out, json=json)


def import_adapters(
    verbalizer: Annotated[
        list[Path],
        typer.Option(
            "--av", help="The verbalizer's PEFT folder, or a whole model. Repeat it for adapters on top of adapters."
        ),
    ],
    reconstructor: Annotated[
        Path, typer.Option("--ar", help="The reconstructor's folder: ar_meta.json, or value_head.safetensors.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the new checkpoint.")],
    base: Annotated[
        str | None, typer.Option(metavar="MODEL", help="The unmodified base model.  [default: the one --av names]")
    ] = None,
    sidecar: Annotated[
        Path | None,
        typer.Option(help="Dataset (.parquet) or folder whose nla_meta.yaml counts.  [default: that of --av or --ar]"),
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="Store of the training activations, for FVE and the token lookup.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")] = False,
) -> None:
    """Make a checkpoint from the LoRA adapters of EasyNLA, which sit on an unmodified base model.

    The adapters are merged; the vector is added after block 1, norm-matched, and the reconstructor reads without a
    start token, as they were trained. Marker, templates and layer come from the sidecar.

    \b
      legible import-adapters --av av_sft/iter_0001000 --av rl/iter_0000200 --ar rl/critic --out theirs
      legible read theirs "A text of yours"
    """
    from legible.recipes.adapters import AdapterFolders, import_adapters

    checkpoint = import_adapters(AdapterFolders(verbalizer, reconstructor, base, sidecar), out, store=store)
    answer({"checkpoint": str(checkpoint)}, checkpoint, json=json)
