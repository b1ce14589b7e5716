"""The ways in which `legible read` reads, and the options that go with each; nothing heavy is imported here."""

import typer

from legible.errors import UsageError

_ANYWHERE = {"CHECKPOINT", "--json", "--device", "--dtype", "--quantize"}
_PAIR = {"--samples", "--temperature", "--seed", "--target", "--other-target", "--reconstructor"}
_WAYS = {  # the options that go with each, and what to do without the others
    "--corpus": (
        {"--corpus", "--archive", "--positions", "--positions-per-doc", *_PAIR},
        "Leave it out: trust is asked for when searching (legible search ARCHIVE WORDS --min-trust 0.8), and\n"
        "  reports come from the archive (legible report ARCHIVE --out DIR).",
    ),
    "--vectors": (
        {"--vectors", "--tensor", "--search", "--budget", "--html", *_PAIR},
        "Leave it out: of a vector no text is known, so there are no positions and no probabilities.",
    ),
    "--latent": (
        {"--latent", "--method", "--weights", "--target", "--other-target", "--reconstructor"},
        "Leave it out: a latent is read by its number alone, from what its folder and the pair know.",
    ),
    "--method": (
        {"TEXT", "--file", "--positions", "--seed", "--budget", "--method", "--layer", "--weights", "--chat", "--html"},
        "This method writes one text a token, greedily, and has neither scores nor probabilities.\n"
        "  Leave it out, or read a checkpoint.",
    ),
}


def way_of(context: typer.Context) -> str:
    """What is read and by whom: `--corpus`, `--vectors`, `--latent`, `--method` (without training) or `TEXT`.

    Raises:
        UsageError: options that do not go together.
    """
    options = _given(context)
    method = context.params["method"]
    if options & {"--corpus", "--archive", "--positions-per-doc"}:
        if not options >= {"--corpus", "--archive"}:
            raise UsageError(
                "a corpus run needs both --corpus and --archive.\n"
                "  For example: legible read builtin --corpus texts.jsonl --archive out.db --positions-per-doc 8"
            )
        return _checked("--corpus", options)
    if options & {"--vectors", "--tensor"}:
        if "--vectors" not in options:
            raise UsageError("--tensor names a tensor of a --vectors file.\n  Give the file: --vectors FILE")
        return _checked("--vectors", options)
    if "--latent" in options:
        if method != "sae" or "--weights" not in options:
            raise UsageError("--latent is of a sparse autoencoder.\n  Add --method sae --weights FOLDER.")
        return _checked("--latent", options)
    if method != "nla":
        return _checked("--method", options, f"--method {method}")
    if "--layer" in options:
        raise UsageError(
            "--layer goes with --method: a checkpoint reads the layer that it was trained on.\n"
            "  For example: legible read MODEL TEXT --method logit-lens --layer 3"
        )
    if "--weights" in options:
        raise UsageError("--weights is of an instrument.\n  Add --method NAME.")
    return "TEXT"


def _checked(way: str, options: set[str], called: str | None = None) -> str:
    fitting, hint = _WAYS[way]
    if wrong := sorted(options - fitting - _ANYWHERE):
        raise UsageError(f"{', '.join(wrong)} and {called or way} do not go together.\n  {hint}")
    return way


def _given(context: typer.Context) -> set[str]:
    """The options and arguments that stood on the command line, as it calls them: `--samples`, `TEXT`."""
    found = set()
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if source is not None and source.name == "COMMANDLINE":
            is_option = parameter.param_type_name == "option"
            found.add(parameter.opts[0] if is_option else str(getattr(parameter, "metavar", None) or parameter.name))
    return found
