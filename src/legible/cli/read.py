"""`legible read`: the explanation behind each token of a text."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from legible.cli.common import answer, not_negative, note, print_json, read_text_argument
from legible.cli.options import (
    CheckpointName,
    OtherTarget,
    Reconstructor,
    allowed,
    checked_positions,
    chosen_from,
    placed,
)
from legible.cli.ways import way_of
from legible.config import Placement
from legible.config.choices import INSTRUMENTS, SEARCHES
from legible.documents import check_corpus
from legible.reading.checkpoint_name import check_name

if TYPE_CHECKING:
    from legible.session.readings import Explanations, Readings


@placed
def read(
    context: typer.Context,
    place: Placement,
    checkpoint: CheckpointName,
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="The text to read; '-' reads standard input.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="Read the text from this UTF-8 file instead.")] = None,
    vectors: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Explain the activations of this file instead of a text: .npy or .safetensors, [n, d]."
        ),
    ] = None,
    tensor: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which tensor of a --vectors file that holds several.")
    ] = None,
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
            metavar="nla|NAME",
            help="Who reads: a checkpoint's verbalizer (nla), or an instrument such as logit-lens or probes.",
            callback=chosen_from("--method", ("nla", *INSTRUMENTS)),
        ),
    ] = "nla",
    layer: Annotated[
        int | None,
        typer.Option(help="Layer K read by a --method.  [default: the checkpoint's, or about two thirds of the depth]"),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="What a --method learned (legible instrument), or the store that it looks things up in."),
    ] = None,
    latent: Annotated[
        int | None,
        typer.Option(metavar="N", help="With --method sae, in place of TEXT: what one latent stands for."),
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
    diff, report). A stopped run resumes; an activation that this checkpoint has explained is not
    explained again. Documents longer than the target's context are cut to it, and counted.

    \b
      legible read builtin --corpus texts.jsonl --archive out.db --positions-per-doc 8
      legible search out.db "hammer" --claim --min-trust 0.8

    With --vectors activations are explained that another tool captured: raw, of the layer that the pair reads, one a
    row. They get scores and no probabilities, which need the text.

    \b
      legible read builtin --vectors activations.npy
      legible read builtin --vectors cache.safetensors --tensor blocks.2.hook_resid_post --json

    With another --method than nla an instrument reads. The first argument is then a checkpoint, whose target is read at
    its layer, or any supported model: its directory, hub name, GGUF file or own name (legible target list). The
    readings have neither scores nor probabilities. logit-lens, tuned-lens, jacobian-lens: the likeliest next words of a
    stream that ends here, that an affine map carries to the last layer, or that the blocks to come carry there to first
    order. patchscopes and selfie: what the model writes when the activation is put into a prompt; small base models
    mostly go on with the text they know. probes: what the checkpoint's probes read. reading-vectors: one direction for
    each value, found by contrast. nearest-neighbours, token-lookup: the facts of the most similar activations, or of
    the same last tokens, in a store. sae: the most active latents of a sparse autoencoder, with the claims that label
    them; --latent shows one of these, and what the verbalizer makes of its direction. asked and k-shot see the text
    and no activation: what the model answers when it is asked about it, and what it writes of it after a few examples
    from a store.

    \b
      legible read runs/tiny "Pavel kept a hammer in the pocket." --method probes
      legible read builtin "Pavel kept a hammer." --method tuned-lens --weights tuned.safetensors
      legible read builtin "Pavel kept a hammer." --method nearest-neighbours --weights stores/train
      legible read builtin "Pavel kept a hammer." --method asked --positions -1
      legible read builtin --method sae --weights my-sae --latent 17

    Flags: early_position (less context than in training), norm_outlier (an activation of unusual length), ood (text
    outside the world the pair was trained on), special_token, other_target (the model read is not the one that the pair
    was trained on), parse_failed (no explanation came out).
    """
    way = way_of(context)
    if way != "--method":
        check_name(checkpoint)
    if corpus is not None and archive is not None:
        check_corpus(corpus)
        from legible.archive.job import CorpusJob, read_corpus_into

        job = CorpusJob(corpus, archive, positions, positions_per_doc, samples, temperature, seed)
        filled = read_corpus_into(
            checkpoint, job, target=target, reconstructor=reconstructor, other_target=other_target, place=place
        )
        print_json(filled.as_dict()) if json else typer.echo("\n".join(filled.lines()))
        return
    text = read_text_argument(text, file) if way not in ("--vectors", "--latent") else ""
    not_negative("samples", samples)
    if way == "--method":
        from legible.session.untrained import read_untrained

        found = read_untrained(checkpoint, method, text, layer, positions, chat=chat, weights=weights, place=place)
        _show(found, html, json)
        return
    from legible.reading.given_vectors import load_vectors
    from legible.session.opening import load

    rows = None if vectors is None else load_vectors(vectors, tensor=tensor)
    options: dict[str, Any] = {**place.model_dump(), "engine": search}
    if search is not None:
        options |= {"budget": budget, "temperature": 1.0 if temperature is None else temperature}
    reader = load(
        checkpoint,
        target=target,
        reconstructor=reconstructor,
        other_target=allowed(other_target),
        **options,
    )
    if latent is not None and weights is not None:
        from legible.session.latents import read_latent

        known = read_latent(reader, weights, latent)
        answer(known.as_dict(), "\n".join(known.lines()), json=json)
        return
    if rows is not None:
        _show(reader.explain(rows, samples=samples, temperature=temperature, seed=seed), html, json)
        return
    found = reader.read(
        text, positions=positions, samples=samples, temperature=temperature, seed=seed, trust=trust, chat=chat
    )
    _show(found, html, json)


def _show(readings: "Readings | Explanations", html: Path | None, json: bool) -> None:
    """Print readings as a table or as JSON lines, and write the report where one is asked for."""
    if html is not None:
        readings.write_html(html)
        note(f"report: {html}")
    if json:
        for reading in readings:
            print_json(reading.as_dict())
        return
    from legible.reading.table import print_table

    about = readings.about
    by = "read by {method}: model {model}, layer {layer} (counted from 0)" if "method" in about else ""
    print_table(readings, about=by.format_map(about))
