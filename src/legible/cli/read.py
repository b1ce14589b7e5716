"""`legible read`: the explanation behind each token of a text."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from legible.cli.common import not_negative, note, print_json, read_text_argument
from legible.cli.options import CheckpointName, OtherTarget, Reconstructor, checked_positions, chosen_from, placed
from legible.config import Placement
from legible.config.choices import SEARCHES, UNTRAINED
from legible.documents import check_corpus
from legible.reading.checkpoint_name import check_name

if TYPE_CHECKING:
    from legible.reading.reader import Reading


@placed
def read(
    place: Placement,
    checkpoint: CheckpointName,
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="The text to read; '-' reads standard input.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="Read the text from this UTF-8 file instead.")] = None,
    corpus: Annotated[
        Path | None,
        typer.Option(help="Read every document of this file into --archive: .jsonl, .json or .txt, also .gz."),
    ] = None,
    archive: Annotated[
        Path | None,
        typer.Option("--archive", "--store", help="Archive that --corpus fills; made, or filled further."),
    ] = None,
    positions: Annotated[
        str,
        typer.Option(
            metavar="SPEC",
            help="Token positions: 'all', '-1', '3,5', or a slice such as '4:9'.",
            callback=checked_positions,
        ),
    ] = "all",
    positions_per_doc: Annotated[
        int | None, typer.Option(metavar="N", help="With --corpus: so many tokens of each document, drawn by --seed.")
    ] = None,
    samples: Annotated[int, typer.Option(help="Explanations per token; the best-scored one is shown first.")] = 1,
    temperature: Annotated[
        float | None, typer.Option(help="Sampling temperature.  [default: 0 for one sample, 1 for more]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the sampling.")] = 0,
    trust: Annotated[
        float | None, typer.Option(metavar="P", help="Show only claims whose p_true is at least this, e.g. 0.8.")
    ] = None,
    search: Annotated[
        str | None,
        typer.Option(
            metavar="best-of-n|beam|tree",
            help="Search for the explanation that the reconstructor likes best.",
            callback=chosen_from("--search", SEARCHES),
        ),
    ] = None,
    budget: Annotated[int, typer.Option(help="Explanations' worth of tokens that --search may write per token.")] = 8,
    method: Annotated[
        str,
        typer.Option(
            metavar="nla|logit-lens|patchscopes|selfie",
            help="Who reads: a checkpoint's verbalizer (nla), or the model itself, without training.",
            callback=chosen_from("--method", ("nla", *UNTRAINED)),
        ),
    ] = "nla",
    layer: Annotated[
        int | None,
        typer.Option(help="Layer K read by a --method without training.  [default: about two thirds of the depth]"),
    ] = None,
    target: Annotated[str | None, typer.Option(help="Where the target lies, if not where the contract says.")] = None,
    other_target: OtherTarget = False,
    reconstructor: Reconstructor = None,
    chat: Annotated[
        bool,
        typer.Option(
            "--chat",
            help="Read TEXT as a user's turn in the target's chat template, up to where the model begins to answer.",
        ),
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Also write a self-contained HTML report to this file.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per token on stdout, nothing else.")] = False,
) -> None:
    """Explain the activation behind each token of TEXT.

    CHECKPOINT holds a verbalizer and, for the scores, a reconstructor; the target model and the layer come from its
    contract. FVE is how much of the activation's variance comes back from the words alone: 1 is all of it. Trust is the
    mean and the lowest calibrated probability (p_true) of the claims being true; where there is none, a line says why.

    A released pair in two repositories or folders, NAME-av and NAME-ar, is read by naming one of them. Where V is not
    recorded there is no FVE, and the table says what to do.

    A text is read as it stands. With --chat it is one turn of a user in the target's chat template, and the last token
    is where the model begins to answer. What a model for chat is about to say is shown by family: what the text holds,
    what is going on now, which words come next, what the model is about to say.

    \b
      legible read builtin "Our hero Pavel rested beside the desert."
      legible read smollm2 "What is the capital of France?" --chat --positions -1
      legible read builtin "Pavel kept a hammer in the pocket." --positions -1 --samples 4
      legible read builtin "Pavel kept a hammer in the pocket." --samples 5 --trust 0.8
      legible read runs/tiny --file story.txt --positions 10:20 --html reading.html
      legible read builtin "Pavel kept a hammer in the pocket." --search tree --budget 8
      legible read builtin "Pavel kept a hammer in the pocket." --json | jq -r .explanation
      legible read MODEL "Pavel kept a hammer in the pocket." --method logit-lens --layer 3
      legible read OWNER/NAME-av "A text of yours."

    With --corpus and --archive whole corpora are read into one file to search, compare and publish (legible search,
    diff, report). A stopped run goes on where it stopped; an activation that this checkpoint has explained is not
    explained again. Documents longer than the target's context are cut to it, and counted.

    \b
      legible read builtin --corpus texts.jsonl --archive out.db --positions-per-doc 8
      legible search out.db "hammer" --claim --min-trust 0.8

    With another --method than nla, the first argument is any supported model: its directory, hub name, GGUF file or
    own name (legible target list), or 'builtin' for the target of the built-in pair. The readings have neither scores
    nor probabilities. logit-lens: the likeliest next words of a stream that ends here. patchscopes and selfie: what the
    model writes when the activation is put into a prompt; small base models mostly go on with the text they know.

    Flags: early_position (less context than in training), norm_outlier (an activation of unusual length), ood (text
    outside the world the pair was trained on), special_token, other_target (the model read is not the one that the pair
    was trained on), parse_failed (no explanation came out).
    """
    if corpus is not None or archive is not None or positions_per_doc is not None:
        check_name(checkpoint)
        check_corpus(corpus)
        from legible.archive.job import CorpusJob, read_corpus_into

        job = CorpusJob(corpus, archive, positions, positions_per_doc, samples, temperature, seed)
        others = {**_text_options(text, file, trust, search, method, layer, html), "--chat": chat}
        filled = read_corpus_into(
            checkpoint,
            job,
            target=target,
            reconstructor=reconstructor,
            other_target=other_target,
            others=others,
            place=place,
        )
        print_json(filled.as_dict()) if json else typer.echo("\n".join(filled.lines()))
        return
    whole = read_text_argument(text, file)
    not_negative("samples", samples)
    if method == "nla":
        check_name(checkpoint)
    from legible.models.chats import chat_text
    from legible.reading import zero_shot

    zero_shot.check_options(
        method,
        layer,
        {
            **_checkpoint_options(samples, temperature, trust, search, target, reconstructor),
            "--other-target": other_target,
        },
    )
    if method != "nla":
        instrument = zero_shot.load(checkpoint, method, layer=layer, place=place)
        whole = chat_text(instrument.instrument.target, [("user", whole)], reply=True) if chat else whole
        _show(instrument.read(whole, positions=positions), whole, instrument.about(), html, json)
        return
    from legible.reading.reader import load

    options: dict[str, float] = (
        {} if search is None else {"budget": budget, "temperature": 1.0 if temperature is None else temperature}
    )
    held = {**place.model_dump(), **options}
    reader = load(
        checkpoint, target=target, reconstructor=reconstructor, other_target=other_target, engine=search, **held
    )
    whole = chat_text(reader.checkpoint.target, [("user", whole)], reply=True) if chat else whole
    readings = reader.read(whole, positions=positions, samples=samples, temperature=temperature, seed=seed, trust=trust)
    _show(readings, whole, reader.about(), html, json)


def _text_options(
    text: str | None,
    file: Path | None,
    trust: float | None,
    search: str | None,
    method: str,
    layer: int | None,
    html: Path | None,
) -> dict[str, bool]:
    """The options that belong to single texts, and whether each was given."""
    return {
        "TEXT": text is not None,
        "--file": file is not None,
        "--trust": trust is not None,
        "--search": search is not None,
        "--method": method != "nla",
        "--layer": layer is not None,
        "--html": html is not None,
    }


def _checkpoint_options(
    samples: int,
    temperature: float | None,
    trust: float | None,
    search: str | None,
    target: str | None,
    reconstructor: str | None,
) -> dict[str, bool]:
    """The options that belong to a checkpoint's readings, and whether each was given."""
    return {
        "--samples": samples != 1,
        "--temperature": temperature is not None,
        "--trust": trust is not None,
        "--search": search is not None,
        "--target": target is not None,
        "--reconstructor": reconstructor is not None,
    }


def _show(readings: Sequence["Reading"], text: str, about: Mapping[str, Any], html: Path | None, json: bool) -> None:
    """Print readings as a table or as JSON lines, and write the report where one is asked for."""
    if html is not None:
        from legible.reading.html import write_reading

        write_reading(html, text, readings, about)
        note(f"report: {html}")
    if json:
        for reading in readings:
            print_json(reading.as_dict())
        return
    from legible.reading.table import print_table

    if "method" in about:
        who = f"read by {about['method']}: model {about['model']}, layer {about['layer']} (counted from 0)"
        print_table(readings, about=who)
    else:
        print_table(readings)
