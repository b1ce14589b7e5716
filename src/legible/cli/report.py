"""`legible report`: readings as a small static site."""

from pathlib import Path
from typing import Annotated

import typer

from legible.cli.common import print_json


def report(
    inputs: Annotated[
        list[Path],
        typer.Argument(metavar="ARCHIVE|READINGS...", help="Archives, or files of legible read --json."),
    ],
    out: Annotated[Path, typer.Option(help="A new or empty folder, or an earlier site.")],
    title: Annotated[str, typer.Option(help="Title of the site.")] = "Readings",
    json: Annotated[bool, typer.Option("--json", help="One JSON object per page on stdout, nothing else.")] = False,
) -> None:
    """Write readings as a static site: an index, a feed, llms.txt, and a Markdown twin of every page.

    There is one page per document, each a single file that loads nothing else. The folder opens without a server, and
    the same inputs give the same files.

    \b
      legible report out.db --out site
      legible read builtin "Pavel kept a hammer in the pocket." --json > reading.json
      legible report out.db reading.json --out site --title "Our readings"
    """
    from legible.archive.site import build_site

    entries = build_site(inputs, out, title=title)
    if not json:
        typer.echo(f"{len(entries)} pages: {out / 'index.html'}")
    else:
        for entry in entries:
            print_json({"html": entry.html, "markdown": entry.markdown, "title": entry.title, "tokens": entry.tokens})
