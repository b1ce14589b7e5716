"""`legible read`: the explanation behind each token of a text."""

from pathlib import Path
from typing import Annotated

import typer

from legible.cli.common import not_negative, note, print_json, read_text_argument


def read(
    checkpoint: Annotated[
        str, typer.Argument(metavar="CHECKPOINT", help="Run directory, checkpoint directory, hub name, or 'builtin'.")
    ],
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="The text to read; '-' reads standard input.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="Read the text from this UTF-8 file instead.")] = None,
    positions: Annotated[
        str, typer.Option(metavar="SPEC", help="Token positions: 'all', '-1', '3,5', or a slice such as '4:9'.")
    ] = "all",
    samples: Annotated[int, typer.Option(help="Explanations per token; the best-scored one is shown first.")] = 1,
    temperature: Annotated[
        float | None, typer.Option(help="Sampling temperature.  [default: 0 for one sample, 1 for more]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the sampling.")] = 0,
    target: Annotated[str | None, typer.Option(help="Where the target lies, if not where the contract says.")] = None,
    html: Annotated[Path | None, typer.Option(help="Also write a self-contained HTML report to this file.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per token on stdout, nothing else.")] = False,
) -> None:
    """Explain the activation behind each token of TEXT.

    CHECKPOINT holds a verbalizer and, for the scores, a reconstructor; the target model and the layer come from its
    contract. FVE is how much of the activation's variance comes back from the words alone: 1 is all of it.

    \b
      legible read builtin "Our hero Pavel rested beside the desert."
      legible read builtin "Pavel kept a hammer." --positions -1 --samples 4
      legible read runs/tiny --file story.txt --positions 10:20 --html reading.html
      legible read builtin "Pavel kept a hammer." --json | jq -r .explanation

    Flags: early_position (less context than in training), norm_outlier (an activation of unusual length), ood (text
    outside the world the pair was trained on), special_token, parse_failed (no explanation came out).
    """
    whole = read_text_argument(text, file)
    not_negative("samples", samples)
    from legible.analysis.read import load

    reader = load(checkpoint, target=target)
    readings = reader.read(whole, positions=positions, samples=samples, temperature=temperature, seed=seed)
    if html is not None:
        from legible.analysis.html import write_reading

        write_reading(html, whole, readings, reader.about())
        note(f"report: {html}")
    if json:
        for reading in readings:
            print_json(reading.as_dict())
        return
    from legible.analysis.table import print_table

    print_table(readings)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(read)
