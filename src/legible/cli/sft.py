"""`legible sft`: the warm start of verbalizer and reconstructor."""

from pathlib import Path
from typing import Annotated

import typer

from legible.cli.common import answer
from legible.cli.options import placed, section_options
from legible.config import Placement, SFTConfig


@section_options(SFTConfig)
@placed
def sft(
    place: Placement,
    config: SFTConfig,
    target: Annotated[
        str,
        typer.Argument(metavar="TARGET", help="The captured model: directory, hub name, GGUF file or named target."),
    ],
    store: Annotated[Path, typer.Argument(metavar="STORE", help="Store of the training split.")],
    teach: Annotated[Path, typer.Argument(metavar="TEACH", help="The teacher's explanations of that store.")],
    layer: Annotated[int, typer.Option(help="Layer K, one of the store's.")],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    revision: Annotated[str | None, typer.Option(help="Hub revision of the target.")] = None,
    threads: Annotated[int, typer.Option(help="Torch threads; results are bit-identical at the same number.")] = 2,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")] = False,
) -> None:
    """Teach both roles from the teacher's text: vector to words, words to vector.

    Both start from the target's weights. Interrupted? Run it again: it resumes from its last saved step.

    \b
      legible sft targets/world stores/train teach/train.jsonl --layer 2 --out runs/world-sft
      legible sft MODEL stores/mine teach/mine.jsonl --layer 3 --adapter-rank 16 --out runs/mine
      legible sft MODEL stores/mine teach/mine.jsonl --layer 24 --verbalizer-blocks 0,1,2,27,28,29 --out runs/small

    Adapters, and readers of some blocks, are saved as differences from the target, whose weights all roles then share
    in memory; legible export writes whole models.

    OUT/checkpoint can be read, evaluated and trained further with legible rl.
    """
    from legible.recipes.inputs import open_store, open_target, use_threads
    from legible.recipes.stages.training import SFT

    use_threads(threads)
    model = open_target(target, revision=revision, layers=(layer,), place=place)
    counts = SFT.alone(model, layer, open_store(store), teach, config, revision).run(out)
    answer({"checkpoint": str(out / "checkpoint"), **counts}, out / "checkpoint", json=json)
