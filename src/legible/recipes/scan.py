"""A whole scan: from a model's name and a corpus to the comparison of its layers and the next command."""

import shlex
import sys
from collections.abc import Sequence
from typing import Any

from legible import languages
from legible.config import AUTO, CaptureConfig, Placement
from legible.contract import git_commit
from legible.data.capture import Progress
from legible.errors import UsageError
from legible.evaluate.scan import scan
from legible.models.arch import check_layer
from legible.models.placement import circumstances_part
from legible.progress import line_progress
from legible.reading.shipped import WORLD, shipped_target
from legible.reading.zero_shot import open_model
from legible.recipes.sources import DocumentSource


def scan_model(
    name: str,
    corpus: str | None,
    *,
    layers: str = "all",
    documents: int = 300,
    labels: str | None = None,
    config: CaptureConfig,
    place: Placement = AUTO,
) -> dict[str, Any]:
    """Compare the layers of a model on documents of the training split.

    Args:
        name: a model's name (see `legible.models.local`), or `builtin`.
        corpus: see `legible.documents.read_corpus`; absent: the world's stories, for `builtin` only.
        layers: `all`, or numbers separated by commas.
        documents: at most this many.
        labels: `text`, `world` or `none`; absent: `world` for the world's stories, `text` for a corpus.
        config: which positions, and the seed.
        place: the device, and how the weights are held.

    Returns:
        The object of `legible.evaluate.scan.scan` with `model`, `corpus`, `commit`, and the next command under
        `proposal`.

    Raises:
        UsageError: no corpus for a model that needs one, or a model, corpus, layer or labels that are not there.
    """
    if corpus is None and name != WORLD:
        raise UsageError(
            f"no corpus to scan {name} on: only the built-in target comes with texts.\n"
            "  Give some, one document per line: --corpus texts.jsonl (field text) or --corpus texts.txt"
        )
    labels = labels or ("text" if corpus is not None else "world")
    language = None if labels == "none" else languages.get(labels)
    chosen = DocumentSource(corpus, config.seed).documents("train", documents)
    target, _ = open_model(name, place)
    numbers = parse_layers(layers, target.n_layers)
    for layer in numbers:
        target.self_check(layer)
    own = circumstances_part(target.model)
    report = scan(target, chosen, language, layers=numbers, config=config, progress=_progress)
    proposal = {**report.pop("proposal")}
    proposal["command"] = _command(name, corpus, proposal["layer"])
    return {"model": name, "corpus": corpus, **report, "proposal": proposal, "commit": git_commit(), **own}


def parse_layers(spec: str, n_layers: int) -> list[int]:
    """Layers named by `all` or `0,2,5`, ascending.

    Raises:
        UsageError: neither of these, or a layer that is not there.
    """
    if spec.strip() == "all":
        return list(range(n_layers))
    try:
        found: Sequence[int] = sorted({int(part) for part in spec.split(",")})
    except ValueError:
        raise UsageError(f"layers {spec!r} are not understood: expected 'all' or numbers such as '0,2,5'.") from None
    for layer in found:
        check_layer(layer, n_layers)
    return list(found)


def _command(name: str, corpus: str | None, layer: int) -> str:
    if corpus is None:
        return f"legible train tiny --layer {layer} --out runs/tiny"
    target = str(shipped_target(name) or name)
    return (
        f"legible train small --target {shlex.quote(target)} --corpus {shlex.quote(corpus)} --layer {layer} "
        "--teacher text --out runs/mine"
    )


def _progress(label: str, total: int) -> Progress:
    sys.stderr.write(f"scan: {label}\n")
    return line_progress(f"scan: {label}", total)
