"""A checkpoint from adapters of another tool: EasyNLA's verbalizer and reconstructor on the unmodified base model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from legible.contract import LegibleExtra, TargetRecord, Tokens, read_contract, sidecar_path
from legible.contract.schema import DatasetContract, ModelContract
from legible.errors import ContractError, UsageError
from legible.injection import Injection
from legible.models.adapters import base_of, merged_reconstructor, merged_verbalizer, reconstructor_meta
from legible.models.placement import CPU
from legible.models.reconstructor import Reconstructor
from legible.models.target import Target
from legible.models.verbalizer import Verbalizer
from legible.probes.lookup import TokenLookup
from legible.prompts import chat_verbalizer_prompt, template_reconstructor_prompt
from legible.reading.checkpoint import Marker, save_checkpoint
from legible.recipes.inputs import open_store, open_target
from legible.recipes.pair import copied_target, describe
from legible.recipes.stages.rows import fit_lookup

INJECTION = Injection("add", None, block=1)
"""Where EasyNLA's verbalizers get their vector: h + |h| unit(v) after block 1 (Activation Oracles, eq. 1)."""


@dataclass(frozen=True)
class AdapterFolders:
    """Where the pieces lie.

    verbalizer: PEFT folders, merged in this order (RL's after the warm start's), or one whole model.
    reconstructor: its LoRA (`ar_meta.json`), or a whole one with `value_head.safetensors`.
    base: the model both sit on; None takes the one that the verbalizer's adapter names.
    sidecar: dataset or folder whose `nla_meta.yaml` says marker, templates and layer; None looks in the folders.
    """

    verbalizer: Sequence[Path]
    reconstructor: Path
    base: str | None = None
    sidecar: Path | None = None


@dataclass(frozen=True)
class _Sidecar:
    """What both kinds of contract say of an adapter; `av` and `ar` are the templates."""

    tokens: Tokens
    av: str
    ar: str
    layer: int | None
    base: str | None


def import_adapters(folders: AdapterFolders, out: Path, *, store: Path | None = None) -> Path:
    """Merge the adapters, check them against base, tokenizer and sidecar, and write an ordinary checkpoint.

    Args:
        folders: the pieces.
        out: the new checkpoint.
        store: activations of the training split (`legible import data.parquet STORE`): V of every FVE and the token
            lookup come from it; without one readings carry direction_mse only.

    Returns:
        `out`.

    Raises:
        UsageError: a piece is missing or `out` is there already.
        ContractError: pieces of different models or layers.
    """
    if out.exists():
        raise UsageError(f"{out} is there already.\n  Name a new folder with --out.")
    for folder in (*folders.verbalizer, folders.reconstructor):
        if not folder.is_dir():
            raise UsageError(f"no folder at {folder}: expected one that EasyNLA's training saved (iter_…).")
    found = _sidecar(folders)
    layer = _layer(found, folders.reconstructor)
    target = open_target(_base(folders, found), layers=(layer,), place=CPU)
    verbalizer, reconstructor = _roles(folders, found, target)
    if reconstructor.layer != layer:
        raise ContractError(
            f"{folders.reconstructor} keeps {reconstructor.layer + 1} blocks, the sidecar says layer {layer}, "
            f"which takes {layer + 1}.\n  The usual cause is a reconstructor of another run."
        )
    extra, lookup = _described(folders, target, layer, store)
    own, marker = copied_target(target.name), Marker(found.tokens, found.av)
    return save_checkpoint(out, verbalizer, reconstructor, extra, target_dir=own, lookup=lookup, marker=marker)


def _roles(folders: AdapterFolders, found: _Sidecar, target: Target) -> tuple[Verbalizer, Reconstructor]:
    tokens = found.tokens
    prompt = chat_verbalizer_prompt(
        target.tokenizer,
        found.av,
        tokens.injection_char,
        tokens.injection_token_id,
        tokens.injection_left_neighbor_id,
        tokens.injection_right_neighbor_id,
    )
    verbalizer = Verbalizer(merged_verbalizer(target, folders.verbalizer), target.tokenizer, prompt, INJECTION)
    read = template_reconstructor_prompt(
        target.tokenizer, found.ar, tokens.critic_suffix_ids or (), special_tokens=False
    )
    return verbalizer, merged_reconstructor(target, folders.reconstructor, read)


def _sidecar(folders: AdapterFolders) -> _Sidecar:
    """The first sidecar found: EasyNLA copies its dataset's beside every adapter."""
    places = [folders.sidecar] if folders.sidecar else [*reversed(folders.verbalizer), folders.reconstructor]
    place = next((place for place in places if sidecar_path(place).is_file()), places[0])
    contract = read_contract(place)
    tokens, av, ar = contract.tokens, contract.prompt_templates.av, contract.prompt_templates.ar
    if tokens is None or av is None or ar is None:
        raise ContractError(
            f"the contract of {place} lacks tokens or prompt_templates: nothing says where the vector goes.\n"
            "  Name the training dataset: --sidecar data.parquet"
        )
    of_data = contract.extraction if isinstance(contract, DatasetContract) else None
    layer = of_data.layer_index if of_data else contract.layer if isinstance(contract, ModelContract) else None
    return _Sidecar(tokens, av, ar, layer, of_data.base_model if of_data else None)


def _layer(found: _Sidecar, reconstructor: Path) -> int:
    """Layer K by the sidecar, else by the number of blocks that the reconstructor keeps."""
    if found.layer is not None:
        return found.layer
    meta = reconstructor_meta(reconstructor)
    if meta is None:
        raise ContractError(
            f"nothing names the layer: neither the sidecar nor {reconstructor}/ar_meta.json.\n"
            "  Name the training dataset: --sidecar data.parquet"
        )
    return meta.ar_num_layers - 1


def _base(folders: AdapterFolders, found: _Sidecar) -> str:
    named = (base_of(folder) for folder in folders.verbalizer)
    base = folders.base or next(filter(None, named), None) or found.base
    if base is None:
        raise UsageError("nothing names the base model of these adapters.\n  Name it: --base MODEL")
    return base


def _described(
    folders: AdapterFolders, target: Target, layer: int, store: Path | None
) -> tuple[LegibleExtra, TokenLookup | None]:
    record = TargetRecord(id=target.name, sha256=target.sha256())
    parents = [str(folder) for folder in (*folders.verbalizer, folders.reconstructor)]
    if store is None:
        return LegibleExtra(target=record, layer=layer, parents=parents), None
    opened = open_store(store)
    extra = describe(opened, layer, target=record, parents=parents)
    if bool((opened.token_ids < 0).any()):  # imported without a tokenizer: nothing to look up
        return extra, None
    with TemporaryDirectory() as scratch:
        return extra, fit_lookup(opened, layer, Path(scratch) / "lookup.safetensors")
