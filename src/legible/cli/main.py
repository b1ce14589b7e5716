"""The `legible` program: registers the verbs and turns errors into messages and exit codes.

Exit codes: 0 done, 1 the work failed, 2 bad usage, 130 interrupted. The answer goes to stdout, progress and errors
to stderr. Heavy imports (torch, transformers) happen inside the verbs, so that help is instant.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib import import_module
from typing import Annotated, Any, TextIO, cast

import typer

from legible.errors import LegibleError, UsageError

INTERRUPTED = 130
STDOUT = "standard output"

app = typer.Typer(
    name="legible",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from legible import __version__

        typer.echo(f"legible {__version__}")
        raise typer.Exit


@app.callback()
def legible(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Read what a language model is thinking, in words, and see how far each word can be trusted.

    \b
      legible demo                          read a story with the built-in pair
      legible demo smollm2                  read a real chat model while it answers
      legible read builtin "Pavel kept a hammer in the pocket."
      legible serve                         the same, and steering, in the browser
      legible scan MODEL --corpus FILE      where to read a model of yours
      legible train tiny --out runs/tiny    train everything from nothing

    Every verb has its own help: legible VERB --help.
    """


VERBS = (
    "demo", "read", "search", "diff", "report", "target", "scan", "steer", "serve", "train", "world", "pretrain",
    "corpus", "capture", "probe", "teach", "sft", "rl", "prefer", "calibrate", "evaluate", "truth", "secrets",
    "contract", "exchange.export", "exchange.import_", "exchange.import_adapters",
)  # fmt: skip
"""Where the verbs are, in the order of the help: a module here, and its function where that has another name."""

for place in VERBS:
    module, _, name = place.partition(".")
    verb = getattr(import_module(f"legible.cli.{module}"), name or module)
    if isinstance(verb, typer.Typer):
        app.add_typer(verb)
    else:
        app.command(name=verb.__name__.strip("_").replace("_", "-"))(verb)


class _Output:
    """Standard output: its errors are named, and what its encoding lacks is escaped. Without a `buffer` on purpose:
    click would write UTF-8 into it past an ASCII encoding."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.encoding = stream.encoding or "utf-8"
        self.errors, self.isatty, self.fileno = stream.errors, stream.isatty, stream.fileno

    def write(self, text: str) -> int:
        """Write the text."""
        return int(
            self._named(self._stream.write, text.encode(self.encoding, "backslashreplace").decode(self.encoding))
        )

    def flush(self) -> None:
        """Write what is still held back."""
        self._named(self._stream.flush)

    def _named(self, call: Any, *arguments: str) -> Any:
        try:
            return call(*arguments)
        except OSError as error:
            error.filename = STDOUT
            raise


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program and exit with its code; deliberate errors are printed without a traceback."""
    try:
        with redirect_stdout(cast(TextIO, _Output(sys.stdout or open(os.devnull, "w")))):  # None: closed by the caller
            _call(arguments)
    except UsageError as error:
        _fail(error, 2)
    except LegibleError as error:
        _fail(error, 1)
    except BrokenPipeError:
        _drop_output()  # its reader went away, e.g. `| head`
        sys.exit(0)
    except OSError as error:
        if error.filename == STDOUT:
            _drop_output()
        _fail(f"{error.filename or 'a file'}: {error.strerror or error}", 1)


def _call(arguments: Sequence[str] | None) -> None:
    """The verb; what it wrote is flushed while a failure can still be told."""
    try:
        app(args=arguments, prog_name="legible")
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # click makes exit code 1 of it
            raise stop.__context__ from None
        if stop.code == INTERRUPTED:
            sys.stderr.write("interrupted\n")
        sys.stdout.flush()
        raise


def _drop_output() -> None:
    """Let what stdout still holds vanish: it would fail once more when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno())  # type: ignore[union-attr]


def _fail(error: Exception | str, code: int) -> None:
    sys.stderr.write(f"error: {error}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
