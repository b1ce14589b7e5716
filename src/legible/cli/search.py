"""`legible search`: the explanations of a whole corpus, searched and counted."""

from pathlib import Path
from typing import Annotated

import typer

from legible.cli.common import not_negative, print_json


def search(
    archive: Annotated[
        Path, typer.Argument(metavar="ARCHIVE", help="An archive made by legible read --corpus FILE --archive ARCHIVE.")
    ],
    words: Annotated[
        str | None, typer.Argument(metavar="WORDS", help="What to look for.  [default: everything]")
    ] = None,
    claim: Annotated[bool, typer.Option("--claim", help="Search single claims instead of explanations.")] = False,
    min_trust: Annotated[
        float | None, typer.Option(metavar="P", help="Lowest p_true of the claim, or of any claim of an explanation.")
    ] = None,
    relation: Annotated[
        str | None, typer.Option("--relation", "--kind", help="Only claims of this relation, or explanations with one.")
    ] = None,
    run: Annotated[
        str | None, typer.Option(help="Whose readings: a run's number or a checkpoint's name.  [default: all]")
    ] = None,
    limit: Annotated[int, typer.Option(help="Most rows shown.")] = 20,
    count: Annotated[
        bool, typer.Option("--count", help="Count the matches by relation or, with --claim, by claim.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per row on stdout, nothing else.")] = False,
) -> None:
    """Search the explanations of a corpus, best matches first.

    WORDS must all occur; "a phrase", OR, NOT and prefix* work too. Other punctuation needs double quotes inside the
    argument. Each hit shows its token in the text. With --count, claims whose words match are counted.

    \b
      legible search out.db "hammer"
      legible search out.db "plans NOT trade" --min-trust 0.8
      legible search out.db '"well-known" OR steal*' --claim --relation plan --json | jq -r .doc_id
      legible search out.db --claim --count --min-trust 0.9
    """
    not_negative("limit", limit)
    from legible.archive import Archive
    from legible.archive.showing import print_counts, print_hits

    with Archive(archive) as opened:
        whose = None if run is None else opened.run(run).id
        if count:
            by = "claim" if claim else "relation"
            counts = opened.count(words, by=by, min_trust=min_trust, relation=relation, run=whose, limit=limit)
        else:
            ask = opened.claims if claim else opened.search
            hits = ask(words, min_trust=min_trust, relation=relation, run=whose, limit=limit)
    if json:
        for row in counts if count else hits:
            print_json(row.as_dict())
    elif count:
        print_counts(counts)
    else:
        print_hits(hits)
