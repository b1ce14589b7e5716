"""Checks of a contract against the files beside it and the live tokenizer: what is wrong and how to mend it."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from legible.contract.files import read_contract, sidecar_path
from legible.contract.problem import Problem
from legible.contract.schema import DatasetContract, ModelContract, Tokens
from legible.errors import ContractError


def check_contract(path: Path | str, tokenizer: Any = None) -> list[Problem]:
    """Every problem of a checkpoint (both roles or one) or a dataset; empty when all is well.

    Args:
        path: a checkpoint's folder, one role's folder, or a Parquet file.
        tokenizer: the live tokenizer; absent, a role's own is used where its folder holds one.
    """
    path = Path(path)
    roles = [path / name for name in ("av", "ar") if (path / name).is_dir()]
    if not roles or sidecar_path(path).is_file():
        return list(_check_one(path, tokenizer))
    problems = [problem for role in roles for problem in _check_one(role, tokenizer)]
    return problems or list(_check_pair(path))


def ensure_contract(contract: ModelContract, *, tokenizer: Any, d_model: int, where: Path | str) -> None:
    """Refuse a checkpoint that was made for another model or tokenizer.

    Raises:
        ContractError: all problems at once.
    """
    problems = list(check_tokens(contract, tokenizer))
    if contract.d_model != d_model:
        mend = "The contract is from another model: use the target it names."
        problems.append(Problem(f"d_model {contract.d_model}", f"{d_model}, the model's", mend))
    if problems:
        listed = "\n".join(f"- {problem}" for problem in problems)
        raise ContractError(f"{where} does not fit the live model:\n{listed}\n  See `legible contract check {where}`.")


def check_tokens(contract: ModelContract | DatasetContract, tokenizer: Any) -> Iterator[Problem]:
    """The contract's token ids against a live tokenizer: marker, neighbours, suffix, our prompt ids."""
    reads_marker = not isinstance(contract, ModelContract) or contract.role == "av"
    if contract.tokens is not None and reads_marker:
        yield from _check_marker(contract.tokens, contract.prompt_templates.av, tokenizer)
    if contract.tokens is not None and contract.tokens.critic_suffix_ids and contract.prompt_templates.ar:
        bos = contract.legible is None or contract.legible.bos is not False
        yield from _check_suffix(contract.tokens.critic_suffix_ids, contract.prompt_templates.ar, tokenizer, bos)
    prompt = contract.legible.prompt if contract.legible else None
    for role, ids in (("av", prompt.av), ("ar", prompt.ar)) if prompt else ():
        used = [*ids.prefix_ids, *ids.suffix_ids, *ids.stop_ids, *ids.banned_ids] if ids else []
        if used and max(used) >= len(tokenizer):
            yield Problem(
                f"legible.prompt.{role} uses token {max(used)}",
                f"ids below {len(tokenizer)}, the tokenizer's size",
                "The tokenizer is not the one of training: use the one saved with the checkpoint.",
            )


def _check_marker(tokens: Tokens, template: str | None, tokenizer: Any) -> Iterator[Problem]:
    other = "The tokenizer is not the one of training: use the one saved with the checkpoint."
    char, marker = tokens.injection_char, tokens.injection_token_id
    ids = tokenizer.encode(char, add_special_tokens=False)
    if ids != [marker]:
        yield Problem(f"the tokenizer encodes the marker {char!r} as {ids}", f"exactly [{marker}]", other)
        return
    if template is None:
        return
    if template.count("{injection_char}") != 1:
        where = f"the verbalizer's template holds {{injection_char}} {template.count('{injection_char}')} times"
        yield Problem(where, "once", "Restore prompt_templates.av from the original sidecar.")
        return
    if not getattr(tokenizer, "chat_template", None):
        yield Problem("the tokenizer has no chat template", "one: the marker is placed in a chat prompt", other)
        return
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": template.replace("{injection_char}", char)}],
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
    )["input_ids"]
    places = [i for i, token in enumerate(rendered) if token == marker]
    if len(places) != 1 or not 0 < places[0] < len(rendered) - 1:
        yield Problem(f"the rendered prompt holds the marker at {places}", "one place between two tokens", other)
        return
    found = (rendered[places[0] - 1], rendered[places[0] + 1])
    wanted = (tokens.injection_left_neighbor_id, tokens.injection_right_neighbor_id)
    if found != wanted:
        yield Problem(f"the marker's neighbours are {found}", f"{wanted}", f"Template or tokenizer changed. {other}")


def _check_suffix(suffix: Sequence[int], template: str, tokenizer: Any, bos: bool) -> Iterator[Problem]:
    if template.count("{explanation}") != 1:
        what = f"the reconstructor's template holds {{explanation}} {template.count('{explanation}')} times"
        yield Problem(what, "once", "Restore prompt_templates.ar from the original sidecar.")
        return
    ids = tokenizer.encode(template.replace("{explanation}", "a"), add_special_tokens=bos)
    if ids[-len(suffix) :] != list(suffix):
        yield Problem(
            f"the reconstructor's prompt ends in {ids[-len(suffix) :]}",
            f"critic_suffix_ids {list(suffix)}",
            "The usual cause is a tokenizer that appends an end token, or another template.",
        )


def _check_one(path: Path, tokenizer: Any) -> Iterator[Problem]:
    try:
        contract = read_contract(path)
    except ContractError as error:
        what, _, rest = str(error).partition("\n")
        yield Problem(what, "a readable contract", rest.strip() or "Restore the sidecar from where it came.")
        return
    if isinstance(contract, DatasetContract):
        from legible.contract.dataset import check_dataset  # pyarrow: only datasets need it

        yield from check_dataset(path, contract)
    else:
        yield from _check_model(path, contract)
        if tokenizer is None and (path / "tokenizer_config.json").is_file():
            from transformers import AutoTokenizer, PreTrainedTokenizerFast

            kind: Any = PreTrainedTokenizerFast if (path / "tokenizer.json").is_file() else AutoTokenizer
            try:
                tokenizer = kind.from_pretrained(path)
            except Exception as error:  # noqa: BLE001  of any kind, where the file is of an unknown one
                what = f"the tokenizer in {path.name}/ cannot be loaded ({' '.join(str(error).split())[:200]})"
                yield Problem(what, "a tokenizer.json of a known kind", "Copy it from where it came.")
    if tokenizer is not None:
        yield from check_tokens(contract, tokenizer)


def _check_model(path: Path, contract: ModelContract) -> Iterator[Problem]:
    scale = contract.extraction.injection_scale
    if isinstance(scale, float) and scale <= 0:
        yield Problem(f"injection_scale {scale}", "a positive norm", "Give the norm used in training.")
    if path.is_file():
        return
    if not any(path.glob("*.safetensors")):
        pickles = sorted(file.name for file in path.glob("*.bin"))
        yield Problem(f"weights in {path.name}/: {pickles or 'none'}", "*.safetensors", "Convert or copy the weights.")
    config = path / "config.json"
    if not config.is_file():
        if not any((path / name).is_file() for name in ("adapter_config.json", "own.safetensors")):
            yield Problem(f"{path.name}/ has no config.json", "a Hugging Face folder", "Copy the whole folder.")
        elif contract.role == "ar":
            yield from _check_head(path, contract)
        return
    try:
        outer = json.loads(config.read_text(encoding="utf-8"))
        shape = outer.get("text_config", outer)
    except (ValueError, AttributeError) as error:
        yield Problem(f"{path.name}/config.json is no JSON object ({error})", "one", "Copy the whole folder.")
        return
    width = shape.get("hidden_size", shape.get("n_embd"))
    if width != contract.d_model:
        yield Problem(f"config.json has width {width}", f"d_model {contract.d_model}", "Sidecar of another model.")
    if contract.role == "ar":
        blocks = shape.get("num_hidden_layers", shape.get("n_layer"))
        yield from _check_blocks(contract, blocks)
        yield from _check_head(path, contract)


def _check_blocks(contract: ModelContract, blocks: int | None) -> Iterator[Problem]:
    chosen = contract.legible.blocks.ar if contract.legible and contract.legible.blocks else None
    if chosen is not None and blocks != len(chosen):
        mend = "The sidecar is of another checkpoint: restore its own."
        yield Problem(f"the reconstructor keeps {blocks} blocks", f"{len(chosen)}: legible.blocks.ar {chosen}", mend)
    elif chosen is None and contract.layer is not None and (blocks is None or not contract.may_mean(blocks - 1)):
        yield Problem(
            f"the reconstructor keeps {blocks} blocks",
            f"{contract.layer + 1}: blocks 0..K for layer K = {contract.layer}",
            "The usual cause is counting layers from 1. Truncate again.",
        )


def _check_head(path: Path, contract: ModelContract) -> Iterator[Problem]:
    head = path / "value_head.safetensors"
    if not head.is_file():
        yield Problem(f"{path.name}/ has no value_head.safetensors", "`weight` [d_model, d_model]", "Copy the file.")
        return
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(head, "pt") as tensors:
            shapes: Any = {name: list(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except SafetensorError as error:
        shapes = f"no tensors ({error})"
    if shapes != {"weight": [contract.d_model, contract.d_model]}:
        expected = f"only `weight` [{contract.d_model}, {contract.d_model}]"
        yield Problem(f"value_head.safetensors holds {shapes}", expected, "Not a value head of this model.")


def _check_pair(path: Path) -> Iterator[Problem]:
    contracts = [read_contract(path / role) for role in ("av", "ar") if (path / role).is_dir()]
    if len(contracts) != 2:
        yield Problem(f"{path} has one role", "av/ and ar/", "Copy the whole checkpoint.")
        return
    av, ar = contracts
    if not isinstance(av, ModelContract) or not isinstance(ar, ModelContract):
        yield Problem("a role's sidecar is of a dataset", "kind nla_model", "Restore the sidecar.")
        return
    if (av.role, ar.role) != ("av", "ar"):
        yield Problem(f"roles {av.role}, {ar.role}", "av in av/, ar in ar/", "The folders are swapped.")
    unlike = []
    if av.d_model != ar.d_model:
        unlike.append(f"d_model {av.d_model} in av/, {ar.d_model} in ar/")
    if av.layer is not None and ar.layer is not None and not (av.may_mean(ar.layer) or ar.may_mean(av.layer)):
        unlike.append(f"layer {av.layer} in av/, {ar.layer} in ar/")
    for what in unlike:
        yield Problem(what, "the same in both", "Pair them from one run.")
