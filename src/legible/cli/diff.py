"""`legible diff`: two checkpoints or two targets on the same tokens."""

from pathlib import Path
from typing import Annotated

import typer

from legible.cli.common import answer, note


def diff(
    archive_a: Annotated[Path, typer.Argument(metavar="ARCHIVE_A", help="An archive.")],
    archive_b: Annotated[
        Path | None, typer.Argument(metavar="ARCHIVE_B", help="Another one.  [default: the same, with --a and --b]")
    ] = None,
    a: Annotated[str | None, typer.Option(help="Side A: a run's number or a checkpoint's name in ARCHIVE_A.")] = None,
    b: Annotated[str | None, typer.Option(help="Side B: a run's number or a checkpoint's name in ARCHIVE_B.")] = None,
    min_trust: Annotated[
        float | None, typer.Option(metavar="P", help="Compare only claims with p_true of at least this.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Also write a self-contained HTML report to this file.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")] = False,
) -> None:
    """Compare the readings of two checkpoints, or of two targets, on the same documents and positions.

    Shows how many claims both make, what only one of them claims (by kind, the most frequent first), and the paired
    difference of their FVE; intervals are over documents.

    \b
      legible diff before.db after.db
      legible diff out.db --a runs/tiny --b builtin --min-trust 0.8
      legible diff before.db after.db --json | jq .agreement
    """
    from legible.archive.diffing import diff as compare
    from legible.archive.diffing import diff_lines, write_diff
    from legible.display import visible

    report = compare(archive_a, archive_b, a=a, b=b, min_trust=min_trust)
    if html is not None:
        write_diff(html, report)
        note(f"report: {html}")
    answer(report, "\n".join(visible(line) for line in diff_lines(report)), json=json)
