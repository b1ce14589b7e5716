"""`legible steer`: edit the words of an explanation and see the continuation change."""

from pathlib import Path
from typing import Annotated

import typer

from legible.cli.common import not_negative, print_json, read_text_argument
from legible.cli.options import CheckpointName, OtherTarget, Reconstructor, allowed, chosen_from, placed
from legible.config import Placement
from legible.config.choices import STEER_MODES
from legible.errors import UsageError
from legible.reading.checkpoint_name import check_name


@placed
def steer(
    place: Placement,
    checkpoint: CheckpointName,
    text: Annotated[str | None, typer.Argument(help="The text that is continued; '-' reads it from stdin.")] = None,
    file: Annotated[Path | None, typer.Option(help="Take the text from this UTF-8 file.")] = None,
    pos: Annotated[int, typer.Option(help="The token whose explanation is edited; negative counts from the end.")] = -1,
    replace: Annotated[
        list[str] | None,
        typer.Option(metavar="OLD=NEW", help="Words of the explanation and what replaces them; may be repeated."),
    ] = None,
    edit: Annotated[Path | None, typer.Option(help="File with the whole edited explanation instead.")] = None,
    vector: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Add this direction instead of an edit's: .npy or .safetensors, one row."),
    ] = None,
    tensor: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which tensor of --vector, where it holds several.")
    ] = None,
    strengths: Annotated[
        str,
        typer.Option(
            metavar="auto|LIST", help="Lengths of the added vector relative to the activation's, such as 0.2,0.4,0.6."
        ),
    ] = "auto",
    mode: Annotated[
        str,
        typer.Option(
            metavar="later|one|patch",
            callback=chosen_from("--mode", STEER_MODES),
            help="Add at the token and all later ones or at it alone, or move its activation towards the edited words.",
        ),
    ] = "later",
    controls: Annotated[
        bool, typer.Option(help="Also continue under a random direction and an unrelated edit of the same length.")
    ] = True,
    samples: Annotated[int, typer.Option(help="Continuations at every strength.")] = 1,
    max_tokens: Annotated[int, typer.Option(help="Longest continuation, in tokens.")] = 60,
    temperature: Annotated[
        float, typer.Option(help="Temperature of the continuations; 0 takes the likeliest token.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Of sampling and controls.")] = 0,
    target: Annotated[str | None, typer.Option(help="Where the target is, if not where the contract says.")] = None,
    other_target: OtherTarget = False,
    reconstructor: Reconstructor = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")] = False,
) -> None:
    """Edit the explanation of one token and see what the target then says.

    The edit becomes a vector: the difference that it makes to the reconstruction. This is added to the stream at the
    checkpoint's layer while the target continues TEXT, at several strengths, and compared with the untouched
    continuation, a random direction and an unrelated edit of the same length.

    With --vector the direction is given: a reading vector (legible instrument reading-vectors), a decoder row of a
    sparse autoencoder. Nothing is edited then, and nothing is read back.

    One strength is proposed. The changed activations are read again to find the lowest strength from which the edited
    words are read back; the proposal is the strongest up to twice that at which the untouched target's loss on the
    continuation is at most 2 nats per token above its loss without steering. Without --replace or --edit there is an
    error that shows the explanation.

    \b
      legible steer builtin "Mira was a fox. Mira wanted the ring." --replace "ring=pie"
      legible steer builtin --file story.txt --pos 40 --replace "steal=win" --strengths 0.2,0.4
      legible steer builtin "Mira wanted the ring." --edit edited.txt --mode patch
      legible steer builtin "Mira wanted the ring." --vector directions.safetensors --tensor "want=pie"
      legible steer builtin "Mira wanted the ring." --replace "ring=pie" --json | jq .proposal
    """
    whole = read_text_argument(text, file)
    not_negative("samples", samples)
    not_negative("max-tokens", max_tokens)
    edits = [_pair(each) for each in replace or ()]
    if edit is not None and not edit.is_file():
        raise UsageError(f"no file at {edit}.\n  Check the path given with --edit.")
    edited = read_text_argument(None, edit) if edit is not None else None
    if tensor is not None and vector is None:
        raise UsageError("--tensor names a tensor of a file of vectors.\n  Give the file: --vector FILE")
    amounts = _amounts(strengths)
    check_name(checkpoint)

    from legible.session.opening import load
    from legible.steer.table import print_steered

    reader = load(
        checkpoint,
        target=target,
        reconstructor=reconstructor,
        other_target=allowed(other_target),
        **place.model_dump(),
    )
    found = reader.steer(
        whole,
        edits,
        pos=pos,
        replacement=edited,
        vector=vector,
        tensor=tensor,
        strengths=amounts,
        mode=mode,  # type: ignore[arg-type]  # refused there with the list of modes
        controls=controls,
        samples=samples,
        max_tokens=max_tokens,
        temperature=temperature,
        seed=seed,
    )
    if json:
        print_json(found.as_dict())
    else:
        print_steered(found)


def _pair(spec: str) -> tuple[str, str]:
    old, found, new = spec.partition("=")
    if not found or not old.strip():
        raise UsageError(f'--replace is {spec!r}, expected OLD=NEW.\n  For example: --replace "steal=win"')
    return old.strip(), new.strip()


def _amounts(spec: str) -> list[float] | None:
    if spec == "auto":
        return None
    try:
        return [float(part) for part in spec.split(",")]
    except ValueError:
        raise UsageError(f"--strengths is {spec!r}, expected auto or numbers such as 0.2,0.4,0.6.") from None
