"""`legible pretrain`: a target for the built-in world."""

from pathlib import Path
from typing import Annotated

import typer

from legible.cli.common import answer
from legible.cli.options import on_device, section_options
from legible.config import Placement, PretrainConfig


@section_options(PretrainConfig)
@on_device
def pretrain(
    place: Placement,
    config: PretrainConfig,
    out: Annotated[Path, typer.Option(help="Folder for the trained model (Hugging Face format).")],
    threads: Annotated[int, typer.Option(help="Torch threads; results are bit-identical at the same number.")] = 2,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")] = False,
) -> None:
    """Train a small language model on the built-in world, to be read later.

    Next-token loss, and at one layer the future bag: the direction of the stream must predict the content words
    still to come. `--bag-weight 0` trains the untreated twin. Interrupted? Run it again: it resumes.

    \b
      legible pretrain --out targets/world
      legible pretrain --out targets/twin --bag-weight 0
      legible pretrain --out targets/quick --steps 20 --d-model 32 --n-heads 2 --d-ff 64
    """
    from legible.recipes.inputs import use_threads
    from legible.recipes.stages.targets import Pretrain

    use_threads(threads)
    path = Pretrain(config, place).run(out)
    answer({"target": str(path), "config": config.model_dump(mode="json")}, path, json=json)
