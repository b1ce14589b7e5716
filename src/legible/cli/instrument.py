"""`legible instrument`: train an instrument on stored activations."""

from pathlib import Path
from typing import Annotated

import typer

from legible.cli.common import answer, not_negative
from legible.cli.options import placed, section_options
from legible.config import InstrumentConfig, Placement


@section_options(InstrumentConfig)
@placed
def instrument(
    place: Placement,
    config: InstrumentConfig,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Which one: tuned-lens, jacobian-lens, reading-vectors or sae.")
    ],
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="The captured model, as for legible read --method; or a pair's checkpoint."
        ),
    ],
    store: Annotated[Path, typer.Argument(metavar="STORE", help="Store of its activations (legible capture).")],
    out: Annotated[Path, typer.Option(help="What to write: a safetensors file; of sae a SAELens folder.")],
    layer: Annotated[int | None, typer.Option(help="Layer K, one of the store's.  [default: its only one]")] = None,
    rows: Annotated[int, typer.Option(help="At most so many rows of the store.")] = 20_000,
    seed: Annotated[int, typer.Option(help="Seed of the rows and their order.")] = 0,
    threads: Annotated[int, typer.Option(help="Torch threads.")] = 2,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")] = False,
) -> None:
    """Train an instrument that reads MODEL's activations, on the texts of STORE.

    tuned-lens: an affine map, trained so that the model's own head says behind it what the model says. jacobian-lens:
    what the blocks to come make of a stream, to first order, averaged over the beginnings of some texts. Both without
    labels. reading-vectors: one direction for every value that the checkpoint's language knows of the rows. sae: a
    sparse autoencoder; where MODEL is a checkpoint, the claims of its language label the latents. It resumes if
    stopped.

    \b
      legible capture targets/world --out stores/train --layers 2 --min-pos 12
      legible instrument tuned-lens builtin stores/train --out tuned.safetensors
      legible read builtin "Pavel kept a hammer." --method tuned-lens --weights tuned.safetensors
      legible evaluate builtin --instruments tuned-lens --weights tuned-lens=tuned.safetensors
      legible instrument reading-vectors builtin stores/train --out directions.safetensors
      legible instrument sae builtin stores/train --sae-width 4 --sae-k 16 --out my-sae
      legible instrument sae builtin stores/train --sae-start downloads/sae --out labelled-sae
    """
    not_negative("rows", rows)
    from legible.errors import UsageError
    from legible.progress import line_progress
    from legible.reading.zero_shot import setting_of
    from legible.recipes.inputs import open_store, use_threads
    from legible.recipes.stages.instruments import TrainInstrument

    use_threads(threads)
    opened = open_store(store)
    if layer is None and len(opened.layers) != 1:
        raise UsageError(f"{store} holds layers {list(opened.layers)}.\n  Say which one: --layer K")
    chosen = opened.layers[0] if layer is None else layer
    setting = setting_of(model, layer=chosen, place=place)
    stage = TrainInstrument(name, setting.target, chosen, opened, rows, seed, config, setting.language)
    path = stage.run(out, line_progress(f"train {name}"))
    answer({"instrument": name, "layer": chosen, "file": str(path)}, f"{name} of layer {chosen}: {path}", json=json)
