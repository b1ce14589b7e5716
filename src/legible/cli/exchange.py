"""`legible export`, `legible import` and `legible import-adapters`: what is shared with other tools."""

from pathlib import Path
from typing import Annotated

import typer

from legible.cli.common import answer, note


def export(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A store of activations, or a checkpoint.")],
    parquet: Annotated[
        Path | None, typer.Argument(metavar="OUT", help="The same as --out.", show_default=False)
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            metavar="parquet|merged|adapters|easynla|kitft",
            help="What to write: a store's dataset, or a form of a pair.",
        ),
    ] = "parquet",
    out: Annotated[
        Path | None, typer.Option(help="The .parquet file, its contract beside it; or the new folder.")
    ] = None,
    layer: Annotated[int | None, typer.Option(help="parquet: layer K, one of the store's.")] = None,
    stage: Annotated[
        str, typer.Option(metavar="base|av_sft|ar_sft|rl", help="parquet: which columns the dataset has.")
    ] = "base",
    teach: Annotated[
        Path | None, typer.Option(help="parquet: the teacher's explanations of the store, for av_sft and ar_sft.")
    ] = None,
    rank: Annotated[
        int | None,
        typer.Option(
            help="adapters, easynla: cut the differences from the target to this rank.  [default: differences as they "
            "are, those of whole models to 64]"
        ),
    ] = None,
    dtype: Annotated[
        str, typer.Option(metavar="float32|float16|bfloat16", help="A pair's number format on disk.")
    ] = "float32",
    target: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="A pair's target, if it has moved.  [default: its contract's]"),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")] = False,
) -> None:
    """Write a store or a pair in the form of another tool, or in a smaller one.

    A store becomes the Parquet dataset of other natural-language-autoencoder tools. A pair becomes whole models
    (merged), differences from the target (adapters: PEFT folders; --rank cuts a pair that was trained in full), the
    adapter folders of EasyNLA, or the released layout of two folders NAME-av and NAME-ar (kitft). The new form is read
    back and compared, and the loss is reported.

    \b
      legible export stores/train data.parquet --layer 2
      legible export stores/train sft.parquet --layer 2 --stage av_sft --teach teach/train.jsonl
      legible export runs/mine --form merged --out mine-whole
      legible export runs/mine --form adapters --rank 64 --dtype float16 --out mine-small
    """
    from legible.errors import UsageError

    if (out is None) == (parquet is None):
        raise UsageError("name the output once: legible export SOURCE --out OUT")
    where = out or parquet or Path()
    of_a_store, of_a_pair = (layer, teach, stage if stage != "base" else None), (rank, target)
    if any(given is not None for given in (of_a_pair if form == "parquet" else of_a_store)):
        raise UsageError(
            f"--form {form} and options of another form: --layer, --stage and --teach are for parquet, "
            "--rank and --target for a pair's forms."
        )
    if form == "parquet":
        from legible.recipes.exchange import export_store

        if layer is None:
            raise UsageError(
                "a store is written one layer at a time: give --layer K.\n"
                "  A pair is written with --form merged, adapters, easynla or kitft."
            )
        rows = export_store(Path(source), layer, where, stage, teach)
        note(f"{rows} rows")
        answer({"parquet": str(where), "rows": rows}, where, json=json)
        return
    from legible.recipes.export import export_checkpoint, summary_lines

    told = export_checkpoint(source, form, where, rank=rank, dtype=dtype, target=target)  # type: ignore[arg-type]
    note("\n".join(summary_lines(told)))
    answer(told, where, json=json)


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
