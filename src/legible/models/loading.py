"""Models and tokenizers off the disk: safetensors only, and nothing that the weights do not fit."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, cast

from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from legible.config import AUTO, Placement
from legible.errors import UsageError
from legible.models.arch import check_rows
from legible.models.memory import check_loading
from legible.models.place import check_name, check_place, one_line, tokenizer_as_written
from legible.models.placement import loading_options


def end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """What ends the model's own texts: every end of a text or a turn that its tokenizer or configurations name.

    Raises:
        UsageError: a configuration names something else than ids.
    """
    found: list[Any] = [tokenizer.eos_token_id]
    stated = model.config.to_diff_dict().get("eos_token_id")  # without the default of the model's class
    for named in (stated, getattr(model.generation_config, "eos_token_id", None)):
        found += named if isinstance(named, list | tuple) else [named]
    ids = {token for token in found if token is not None}
    if wrong := [token for token in ids if not isinstance(token, int)]:
        raise UsageError(
            f"eos_token_id {wrong[0]!r} in config.json or generation_config.json is no token id.\n"
            "  Mend it: a number, or a list of numbers."
        )
    return tuple(sorted(ids))


def load_pretrained(
    kind: Any, name: str, *, place: Placement = AUTO, may_lack: Collection[str] = (), **options: object
) -> PreTrainedModel:
    """`kind.from_pretrained(name)` from safetensors only, with SDPA attention.

    Args:
        kind: an auto class of transformers.
        name: directory or hub name.
        place: the device, and how the weights are held.
        may_lack: modules whose weights may be absent, since the forward leaves them out.

    Raises:
        UsageError: nothing there, no safetensors, damaged weights, weights that do not fit the config, or a device
            that is not there.
    """
    check_place(name, cast("str | None", options.get("revision")))
    check_loading([name], place, revision=cast("str | None", options.get("revision")))
    options = {**options, **loading_options(place, name, **options)}
    try:
        with quietly():
            model, found = kind.from_pretrained(
                name, use_safetensors=True, attn_implementation="sdpa", output_loading_info=True, **options
            )
    except Exception as error:  # of any kind, where a config.json holds what transformers does not expect
        raise UsageError(
            f"cannot load the model {name!r}: {one_line(error)}\n"
            "  Expected a directory with config.json and safetensors weights that fit it, or a hub name.\n"
            "  Mend config.json; of quantized weights take the plain ones they come from, or install what is named."
        ) from error
    missing = sorted(key for key in found["missing_keys"] if key.rpartition(".")[0] not in may_lack)
    if missing:
        raise UsageError(
            f"the weights of {name!r} lack {', '.join(missing[:3])}{' and more' if len(missing) > 3 else ''}.\n"
            "  The usual cause is an incomplete copy, or a config.json of another model. Copy the directory again."
        )
    return model


def load_tokenizer(name: str, model: PreTrainedModel | None = None, **options: Any) -> PreTrainedTokenizerBase:
    """The fast tokenizer of a directory or hub name; its ids are those of its tokenizer.json where there is one.

    Args:
        name: directory or hub name.
        model: whose embedding must have a row for each token of its vocabulary; added tokens may lack theirs.
        options: of transformers.

    Raises:
        UsageError: none there or none that can be used, a slow one, which has no character offsets, or more tokens
            than rows.
    """
    check_name(name, options.get("revision"))
    try:
        tokenizer = tokenizer_as_written(name, options)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(
            f"cannot load the tokenizer of {name!r}: {one_line(error)}\n"
            "  Expected a tokenizer.json beside the model, of a kind that the installed tokenizers library knows."
        ) from error
    if not tokenizer.is_fast:
        raise UsageError(
            f"the tokenizer of {name!r} gives no character offsets.\n  Convert it to a tokenizer.json first."
        )
    if model is not None:
        backend: Any = tokenizer.backend_tokenizer
        check_rows(backend.get_vocab(with_added_tokens=False).values(), model, name)
    return tokenizer


@contextmanager
def quietly() -> Iterator[None]:
    """transformers writes a bar for every load; stderr is ours."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
