"""`legible secrets`: can a reader tell two targets apart that differ on identical text?"""

from pathlib import Path
from typing import Annotated

import typer

from legible.cli.common import answer, not_negative
from legible.cli.options import CheckpointName, Reconstructor, placed
from legible.config import Placement
from legible.reading.checkpoint_name import check_name


@placed
def secrets(
    place: Placement,
    checkpoint: CheckpointName,
    planted: Annotated[Path, typer.Argument(metavar="DIR", help="What `legible world secrets` left.")],
    probe_documents: Annotated[
        int, typer.Option(help="Stories for fitting the probes on the base and on each side; 0 leaves the probes out.")
    ] = 400,
    max_tokens: Annotated[int, typer.Option(help="Longest explanation in tokens.")] = 96,
    writer: Annotated[
        Path | None, typer.Option(help="Folder of a trained text-only writer of the same base (holds writer.json).")
    ] = None,
    target: Annotated[str | None, typer.Option(help="Where the base is, if not where the contract says.")] = None,
    reconstructor: Reconstructor = None,
    threads: Annotated[int, typer.Option(help="Torch threads.")] = 2,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")] = False,
) -> None:
    """Read both targets of a planted pair at the same tokens of the same texts.

    CHECKPOINT reads the target that the pair was made from and has seen neither side. Told apart: given both readings,
    do their claims say which is which (ties count half)? Named: does a reading claim the planted value of its target,
    and no other of that kind? A reader that sees only the text says the same of both, and reaches 0.5 at most.
    Compared with: no activation, a text-only writer, logit lens, probes of the base, and probes of each side.

    \b
      legible world secrets --out runs/secrets
      legible secrets builtin runs/secrets
      legible secrets runs/tiny runs/secrets --writer runs/controls/writer --json | jq .readers.nla.all
    """
    not_negative("probe-documents", probe_documents, 0)
    not_negative("max-tokens", max_tokens)
    check_name(checkpoint)
    from legible.planted.readings import read_secrets
    from legible.planted.report import report_lines
    from legible.reading.opening import load_checkpoint
    from legible.recipes.inputs import use_threads

    use_threads(threads)
    report = read_secrets(
        load_checkpoint(checkpoint, target=target, reconstructor=reconstructor, place=place),
        checkpoint,
        planted,
        probe_documents=probe_documents,
        max_tokens=max_tokens,
        writer=writer,
        place=place,
    )
    answer(report, "\n".join(report_lines(report)), json=json)
