"""What a notebook hands over, checked: texts, models in memory, numbers. Each refusal is a sentence."""

from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from legible.documents import Document
from legible.errors import UsageError
from legible.models.target import Target
from legible.progress import line_progress

OtherTarget = Literal["refused", "allowed"]
"""What is done with a target whose weights are not those that the pair was trained on."""
Progress = bool | Callable[[int, int], None]
"""Lines on stderr or none, or what takes how much is done and how much there is."""

_TEXTS = "expected a text, or a list of texts"


def documents_of(text: object) -> list[Document]:
    """The texts to read.

    Args:
        text: a string or `Document`, or an iterable of either: a list, an array, a column of a data frame.

    Raises:
        UsageError: anything else, or an empty list.
    """
    if isinstance(text, str | Document):
        return [_document(text)]
    if isinstance(text, Path):
        raise UsageError(f"the text is a path, {_TEXTS}.\n  Read the file first: path.read_text(encoding='utf-8')")
    if isinstance(text, bytes | bytearray):
        raise UsageError(f"the text is of type {_type(text)}, {_TEXTS}.\n  Decode it first: text.decode('utf-8')")
    if isinstance(text, Mapping | Tensor) or not isinstance(text, Iterable):
        raise UsageError(f"the text is {_type(text, 'of type ')}, {_TEXTS}.")
    found = list(text)
    if not found:
        raise UsageError(f"the list of texts is empty, {_TEXTS}.")
    for index, each in enumerate(found):
        if not isinstance(each, str | Document):
            raise UsageError(
                f"text {index} of {len(found)} (counted from 0) is {_type(each, 'of type ')}, expected a string."
                + ("\n  Give one flat list: nested lists are not read." if isinstance(each, list | tuple) else "")
            )
    return [_document(each) for each in found]


def one_text(text: object, what: str = "the text") -> str:
    """A text.

    Raises:
        UsageError: no string.
    """
    if not isinstance(text, str):
        raise UsageError(f"{what} is {_type(text, 'of type ')}, expected a string.")
    return text


def checkpoint_name(name: object) -> str | Path:
    """The name of a checkpoint.

    Raises:
        UsageError: neither a string nor a path, or an empty one.
    """
    if not isinstance(name, str | Path) or not str(name).strip():
        given = "an empty string" if isinstance(name, str) else _type(name, "of type ")
        raise UsageError(
            f"the checkpoint is {given}, expected a run's or checkpoint's folder, a hub name, or a shipped pair "
            "such as 'builtin'."
        )
    return name


def target_of(target: object, tokenizer: PreTrainedTokenizerBase | None) -> str | Target | None:
    """The model under study as it was given: its name, or what is in memory.

    Raises:
        UsageError: another type, a tokenizer beside a name, or a model without a tokenizer that can be used.
        UnsupportedModelError: a model of a family that Legible does not know.
    """
    if isinstance(target, PreTrainedModel):
        return Target.of(target, tokenizer)
    if tokenizer is not None:
        raise UsageError("tokenizer= goes with a model in memory: a target that is loaded by name brings its own.")
    if target is None or isinstance(target, str | Target):
        return target
    if isinstance(target, Path):
        return str(target)
    hint = "  Give the transformers model; activations of other tools are read with reader.explain(vectors)."
    if hasattr(target, "merge_and_unload"):
        hint = "  Merge its adapters first: target=model.merge_and_unload()"
    raise UsageError(
        f"the target is {_type(target, 'of type ')}, expected a name, a folder or a causal LM of transformers.\n{hint}"
    )


def is_allowed(other_target: object) -> bool:
    """Whether another target than the pair's own may be read.

    Raises:
        UsageError: neither 'allowed' nor 'refused'.
    """
    if other_target not in ("allowed", "refused"):
        raise UsageError(f"other_target is {other_target!r:.80}, expected 'allowed' or 'refused'.")
    return other_target == "allowed"


def whole_number(name: str, value: object) -> int:
    """An integer.

    Raises:
        UsageError: something else.
    """
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise UsageError(f"{name} is {value!r:.80}, expected a whole number.")
    return int(value)


def number_or_none(name: str, value: object) -> float | None:
    """A number, or None.

    Raises:
        UsageError: something else.
    """
    if value is None:
        return None
    if not isinstance(value, Real) or isinstance(value, bool):
        raise UsageError(f"{name} is {value!r:.80}, expected a number.")
    return float(value)


def sampling(samples: object, temperature: object, seed: object) -> dict[str, Any]:
    """Arguments of the sampling, of the types that they must have.

    Raises:
        UsageError: one of another type.
    """
    return {
        "samples": whole_number("samples", samples),
        "temperature": number_or_none("temperature", temperature),
        "seed": whole_number("seed", seed),
    }


def reporter(progress: Progress, label: str) -> Callable[[int, int], None]:
    """What takes the progress.

    Raises:
        UsageError: neither a boolean nor a function.
    """
    if callable(progress):
        return progress
    if not isinstance(progress, bool):
        raise UsageError(f"progress is {progress!r:.80}, expected True, False or a function of (done, total).")
    return line_progress(label) if progress else lambda done, total: None


def _document(text: str | Document) -> Document:
    return Document("", text) if isinstance(text, str) else text


def _type(value: object, of: str = "") -> str:
    return "None" if value is None else f"{of}{type(value).__name__}"
