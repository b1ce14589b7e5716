"""`legible serve`: the page and the HTTP API."""

from typing import Annotated

import typer

from legible.cli.common import not_negative, note
from legible.cli.options import OtherTarget, Reconstructor, placed
from legible.config import Placement
from legible.reading.checkpoint_name import check_name


@placed
def serve(
    place: Placement,
    checkpoints: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CHECKPOINT]...",
            help="Run directories, checkpoint directories, hub names, or shipped pairs: builtin, smollm2.  "
            "[default: builtin]",
            show_default=False,
        ),
    ] = None,
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8377,
    open_: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = True,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Allow an address that other machines can reach; needs a token.")
    ] = False,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="LEGIBLE_TOKEN",
            show_envvar=True,
            help="Token that every request must send; other users of this machine can see it here, but not in the "
            "environment.  [default: a random one]",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Also answer to this Host name, e.g. of a proxy in front.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="Where the target is, if not where the contract says.")] = None,
    other_target: OtherTarget = False,
    reconstructor: Reconstructor = None,
    threads: Annotated[int, typer.Option(help="Threads of the models.")] = 2,
) -> None:
    """Open the workbench in a browser, and serve the HTTP API behind it.

    Prints the page's address, with its token, on stdout. Only this machine can reach the server unless --host and
    --allow-remote say otherwise. Several checkpoints are shown side by side. Ctrl-C stops the server.

    \b
      legible serve
      legible serve smollm2
      legible serve runs/tiny builtin --port 9000 --no-open
      LEGIBLE_TOKEN=$(<token.txt) legible serve --host 0.0.0.0 --allow-remote --no-open

    The API is described in docs/api.md and, for programs, at /openapi.json.
    """
    not_negative("port", port, 0)
    for checkpoint in checkpoints or ():
        check_name(checkpoint)
    from legible.recipes.inputs import use_threads
    from legible.serve import launch

    use_threads(threads)
    address = launch.Address(host, port, token, allow_remote, tuple(allow_host or ()))
    launch.serve(
        checkpoints or ["builtin"],
        address,
        target=target,
        reconstructor=reconstructor,
        other_target=other_target,
        place=place,
        open_browser=open_,
        say=note,
        show=_show,
    )


def _show(line: str) -> None:
    typer.echo(line)
