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
from typer.core import TyperGroup

from legible.errors import LegibleError, UsageError

INTERRUPTED = 130
STDOUT = "standard output"


class Grouped(TyperGroup):
    """The program's help lists its verbs under what they are for, in plain text."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The verbs' names, panel by panel."""
        return [command.name for of_panel in self._panels().values() for command in of_panel]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one section for each panel."""
        room = formatter.width - 6 - max(map(len, self.commands))
        for panel, commands in self._panels().items():
            with formatter.section(panel):
                formatter.write_dl([(command.name, command.get_short_help_str(room)) for command in commands])

    def _panels(self) -> dict[str, list[Any]]:
        panels: dict[str, list[Any]] = {panel: [] for panel in PANELS}
        for command in cast(dict[str, Any], self.commands).values():
            panels[command.rich_help_panel].append(command)
        return panels


app = typer.Typer(
    name="legible",
    cls=Grouped,
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


PANELS: dict[str, dict[str, str]] = {
    "Read": {
        "demo": "read a story, or a chat with a real model",
        "read": "explain the activation behind each token",
        "steer": "edit an explanation and watch the target change",
        "search": "search the explanations of a corpus",
        "diff": "compare two checkpoints, or two targets",
        "report": "write readings as a static site",
        "target": "fetch and list the models that have a name",
    },
    "Train": {
        "train": "a whole run from a recipe",
        "scan": "compare the layers of a model",
        "pretrain": "a small target on the built-in world",
        "capture": "store activations of a model",
        "probe": "report what activations hold",
        "instrument": "train a rival reader on a store",
        "teach": "write an explanation for every row",
        "sft": "warm-start both roles on the teacher's text",
        "rl": "train both roles together",
        "prefer": "train the verbalizer on ranked explanations",
        "calibrate": "fit p_true, the probability of a claim",
        "world": "sample the built-in world's stories",
        "corpus": "make a corpus of labelled texts",
    },
    "Measure": {
        "evaluate": "score a checkpoint beside its floors",
        "truth": "how true claims are, and how well p_true fits",
        "secrets": "tell apart two targets that hide something",
    },
    "Serve and share": {
        "serve": "open the workbench in a browser",
        "exchange.export": "write a store or a pair for other tools",
        "exchange.import_": "read another tool's dataset",
        "exchange.import_adapters": "make a checkpoint of EasyNLA's adapters",
        "contract": "check a dataset's or checkpoint's contract",
    },
}
"""The verbs by what they are for, in the order of the help. Each is a module here, and its function where that has
another name; behind it stands what the list of verbs says of it."""


def _register(panel: str, place: str, about: str) -> None:
    module, _, name = place.partition(".")
    verb = getattr(import_module(f"legible.cli.{module}"), name or module)
    if isinstance(verb, typer.Typer):
        app.add_typer(verb, rich_help_panel=panel, short_help=about)
    else:
        called = verb.__name__.strip("_").replace("_", "-")
        app.command(name=called, rich_help_panel=panel, short_help=about)(verb)


for panel, verbs in PANELS.items():
    for place, about in verbs.items():
        _register(panel, place, about)


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
