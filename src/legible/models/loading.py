"""Models and tokenizers off the disk: safetensors only, and nothing that the weights do not fit."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PreTrainedModel, PreTrainedTokenizerBase

from legible.config import AUTO, Placement
from legible.errors import UnsupportedModelError, UsageError
from legible.models.arch import check_rows
from legible.models.gguf import width_in
from legible.models.hub import config_folder, folder_of
from legible.models.local import gguf_here, local
from legible.models.memory import check_loading
from legible.models.named import own_name
from legible.models.place import check_place, one_line, quietly, tokenizer_as_written
from legible.models.placement import loading_options
from legible.models.towers import text_tower


def end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """What ends the model's own texts: every end of a text or a turn that its tokenizer or configurations name.

    Raises:
        UsageError: a configuration names something else than ids.
    """
    ends: list[Any] = [tokenizer.eos_token_id]
    stated = model.config.to_diff_dict().get("eos_token_id")  # without the default of the model's class
    for named in (stated, getattr(model.generation_config, "eos_token_id", None)):
        ends += named if isinstance(named, list | tuple) else [named]
    ids = {token for token in ends if token is not None}
    if wrong := [token for token in ids if not isinstance(token, int)]:
        raise UsageError(
            f"eos_token_id {wrong[0]!r} in config.json or generation_config.json is no token id.\n"
            "  Mend it: a number, or a list of numbers."
        )
    return tuple(sorted(ids))


def load_pretrained(
    kind: Any, name: str, *, place: Placement = AUTO, may_lack: Collection[str] = (), **options: object
) -> PreTrainedModel:
    """`kind.from_pretrained(name)` from safetensors only, with SDPA attention; of a multimodal model its text tower.

    Args:
        kind: an auto class of transformers.
        name: directory, hub name, named target or GGUF file; see `legible.models.local`.
        place: the device, and how the weights are held.
        may_lack: modules whose weights may be absent, since the forward leaves them out.

    Raises:
        UsageError: nothing there, no safetensors, damaged weights, weights that do not fit the config, or a device
            that is not there.
        NotEnoughMemoryError: it does not fit.
        UnsupportedModelError: a multimodal model whose text tower is of no supported family.
    """
    folder, options = here(name, options)
    check_place(folder)
    check_loading([str(folder)], place)
    usual: dict[str, Any] = {"use_safetensors": True, "attn_implementation": "sdpa", "output_loading_info": True}
    usual |= loading_options(place, str(folder), **options)
    try:
        tower = text_tower(folder, options)
        with quietly(report=not (tower or may_lack)):
            model, info = kind.from_pretrained(folder, **usual, **options, **tower)
        if tower:  # else save_pretrained would give the weights their names in the wrapper again
            vars(model).pop("_weight_conversions", None)
    except UnsupportedModelError:
        raise
    except Exception as error:  # of any kind, where a config.json holds what transformers does not expect
        raise UsageError(
            f"cannot load the model {name!r}: {one_line(error)}\n"
            "  Expected a directory with config.json and safetensors weights that fit it, or a hub name.\n"
            "  Mend config.json; of quantized weights take the plain ones they come from, or install what is named."
        ) from error
    missing = sorted(key for key in info["missing_keys"] if key.rpartition(".")[0] not in may_lack)
    if missing:
        raise UsageError(
            f"the weights of {name!r} lack {', '.join(missing[:3])}{' and more' if len(missing) > 3 else ''}.\n"
            "  The usual cause is an incomplete copy, or a config.json of another model. Copy the directory again."
        )
    if folder != Path(name):  # what is saved with adapters of it, which must not be a path of this machine's cache
        model.name_or_path = model.config.name_or_path = own_name(name)
    return model


def blocks_in(folder: Path) -> int:
    """How many blocks the config.json of a model's folder says, of its text tower where it is multimodal.

    Raises:
        UsageError: no configuration that transformers knows.
    """
    try:
        return int(AutoConfig.from_pretrained(folder).get_text_config().num_hidden_layers)
    except Exception as error:
        raise UsageError(
            f"cannot read how many blocks {folder} has: {one_line(error)}\n"
            "  Expected a config.json of a causal LM. Copy it from the original again."
        ) from error


def width_of(name: str) -> int | None:
    """Width of a model's stream, from its config.json or the head of its GGUF file alone.

    Args:
        name: as in `load_pretrained`; of the hub's, config.json is fetched.

    Returns:
        None where neither says it: loading the model tells what is wrong.
    """
    file = gguf_here(name)
    if file is not None:
        return width_in(file)
    folder = Path(name) if Path(name).is_dir() else config_folder(name)
    if folder is None:
        return None
    try:
        return int(AutoConfig.from_pretrained(folder).get_text_config().hidden_size)
    except Exception:  # noqa: BLE001  of any kind, where a config.json holds what transformers does not expect
        return None


def load_tokenizer(name: str, model: PreTrainedModel | None = None, **options: Any) -> PreTrainedTokenizerBase:
    """The fast tokenizer of a directory or hub name; its ids are those of its tokenizer.json where there is one.

    Args:
        name: as in `load_pretrained`.
        model: whose embedding must have a row for each token of its vocabulary; added tokens may lack theirs.
        options: of transformers.

    Raises:
        UsageError: none there or none that can be used, a slow one, which has no character offsets, or more tokens
            than rows.
    """
    folder, options = here(name, options, weights=False)
    try:
        tokenizer = tokenizer_as_written(folder, options)
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


def here(name: str, options: Mapping[str, Any], *, weights: bool = True) -> tuple[Path, dict[str, Any]]:
    """The folder of a model's name, and the options without the revision that is in it."""
    revision = options.get("revision")
    folder = local(name, revision)
    if folder is None:
        folder = folder_of(name, revision, weights=weights, code=bool(options.get("trust_remote_code")))
    return folder, {key: value for key, value in options.items() if key != "revision"}
