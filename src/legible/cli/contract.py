"""`legible contract`: what a dataset or checkpoint promises, and whether it keeps it."""

from pathlib import Path
from typing import Annotated

import typer

from legible.cli.common import print_json
from legible.errors import UsageError

contract = typer.Typer(name="contract", help="Check the contract of a dataset or checkpoint.", no_args_is_help=True)


@contract.callback()
def contract_group() -> None:
    """Check the contract of a dataset or checkpoint."""


@contract.command()
def check(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A checkpoint (or one of its roles), or a dataset .parquet file.")
    ],
    tokenizer: Annotated[
        str | None, typer.Option(help="Compare with this tokenizer.  [default: the one beside the contract]")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")] = False,
) -> None:
    """Say what is wrong with the contract at PATH, and how to fix it.

    Checks that all keys are present, that the marker is one token with its two neighbours, that layers and widths fit
    the weights, and that scales are given. Exit code 0: nothing wrong; 1: problems found; 2: nothing at PATH.

    \b
      legible contract check runs/tiny/checkpoint
      legible contract check data.parquet --tokenizer MODEL
    """
    from legible.contract import check_contract
    from legible.models.loading import load_tokenizer

    if not path.exists():
        raise UsageError(f"nothing at {path}: expected a checkpoint, one of its roles, or a .parquet file.")
    folder = path / "checkpoint" if (path / "checkpoint").is_dir() else path
    problems = check_contract(folder, load_tokenizer(tokenizer) if tokenizer else None)
    if json:
        print_json({"path": str(path), "problems": [vars(problem) for problem in problems]})
    elif not problems:
        typer.echo(f"{path}: the contract holds")
    for problem in problems if not json else ():
        typer.echo(f"{problem.what}\n  expected: {problem.expected}\n  mend: {problem.mend}")
    if problems:
        raise typer.Exit(1)
