"""The model card written beside every checkpoint: what it is, how to use it, what its figures are."""

from collections.abc import Mapping
from typing import Any

from legible.contract import LegibleExtra

_CARD = """---
license: apache-2.0
library_name: transformers
tags: [interpretability, natural-language-autoencoder]
---

# A natural language autoencoder of {target}

A verbalizer (`av/`) that writes an explanation of one activation, and a reconstructor (`ar/`) that reads the
explanation and returns a vector. Trained with Legible.

    legible read {name} "A text of yours"

| | |
|---|---|
{facts}

## Figures

{metrics}

## What it does not do

- It explains activations of this target, at this layer, on texts like those it was trained on. Elsewhere it writes
  fluent words that mean nothing.
- A good reconstruction is not the truth: explanations hold statements that are wrong. Look at precision, at the
  floors in the report, and at the flags of each reading.
- A first token, a token of extreme norm or a template's token decodes to noise.
"""


def model_card(name: str, extra: LegibleExtra, sizes: Mapping[str, int]) -> str:
    """The README.md of a checkpoint.

    Args:
        name: the checkpoint's folder name.
        extra: what the contract promises; its `metrics` become the table of figures.
        sizes: parameters of each role.
    """
    target = extra.target
    variance = extra.variance
    title = target.id if target else "a language model"
    origin = f"{variance.n} rows, {variance.split} split" if variance else ""
    facts = {
        "target": f"{target.id} (revision {target.revision or 'none'}, sha256 {target.sha256 or 'unknown'})"
        if target
        else None,
        "layer": f"{extra.layer}: the residual stream after block {extra.layer}, blocks counted from 0",
        "variance V": f"{variance.value:.4f} ({origin})" if variance else None,
        "corpus": extra.corpus,
        "teacher": extra.teacher,
        "claims": f"the language `{extra.language}`" if extra.language else "sentences; their truth is not decided",
        "injection": extra.injection.mode
        + (f" after block {extra.injection.block}" if extra.injection.mode == "add" else " of one embedding"),
        "blocks kept": ", ".join(f"{role} {kept}" for role, kept in extra.blocks if kept is not None)
        if extra.blocks
        else None,
        "parameters": ", ".join(f"{role} {count:,}" for role, count in sizes.items()),
        "seed, commit": f"{extra.seed}, {extra.commit}",
    }
    rows = "\n".join(f"| {key} | {value} |" for key, value in facts.items() if value is not None)
    return _CARD.format(target=title, name=name, facts=rows, metrics=_table(extra))


def _table(extra: LegibleExtra) -> str:
    if not extra.metrics:
        return "Not measured yet: `legible evaluate` prints them."
    lines = ["| measure | value | 95 % interval | rows | documents |", "|---|---|---|---|---|"]
    for name, value in extra.metrics.items():
        lines.append(_row(name, value))
    return "\n".join(lines)


def _row(name: str, value: Any) -> str:
    if isinstance(value, Mapping) and "value" in value:
        interval = f"{_shown(value.get('low'))} to {_shown(value.get('high'))}"
        return f"| {name} | {_shown(value['value'])} | {interval} | {value.get('n')} | {value.get('documents')} |"
    return f"| {name} | {_shown(value)} | | | |"


def _shown(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
