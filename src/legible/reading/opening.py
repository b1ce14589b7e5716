"""A checkpoint opened: its contract checked against the live tokenizer and target."""

from pathlib import Path

from legible import languages
from legible.config import AUTO, Placement
from legible.contract import InjectionRecord, ModelContract, ensure_contract
from legible.errors import ContractError
from legible.injection import Injection
from legible.models.loading import load_tokenizer
from legible.models.memory import check_loading
from legible.models.placement import in_full
from legible.models.reconstructor import Reconstructor
from legible.models.target import Target
from legible.models.verbalizer import Verbalizer
from legible.probes.lookup import TokenLookup
from legible.probes.probes import ProbeSet
from legible.prompts import (
    ReconstructorPrompt,
    VerbalizerPrompt,
    chat_verbalizer_prompt,
    template_reconstructor_prompt,
)
from legible.reading.calibrated import load_calibrator
from legible.reading.checkpoint import LOOKUP, PROBES, Checkpoint, contract_in
from legible.reading.locate import locate


def load_checkpoint(
    name: str | Path, *, target: str | None = None, place: Placement = AUTO, train: bool = False
) -> Checkpoint:
    """Load a checkpoint and check its contract against the live tokenizer and target.

    Args:
        name: a checkpoint's folder, a run's folder (its `checkpoint/`), a hub name, or `builtin`.
        target: the target's directory or hub name, where the contract names none or it has moved.
        place: the device, and how the weights are held.
        train: both roles in float32, whatever `place` says of the weights: to be trained.

    Raises:
        UsageError: nothing of that name, or pickle weights only.
        NotEnoughMemoryError: target and roles together do not fit.
        ContractError: a contract that is broken or was made for another tokenizer or model.
    """
    path = locate(name)
    av = contract_in(path / "av")
    layer = _layer(path, av)
    target, revision = _target_name(path, av, target)
    roles = [str(path / role) for role in ("av", "ar") if (path / role).is_dir()]
    check_loading([target] if train else [target, *roles], place, trained=roles if train else (), revision=revision)
    model = _load_target(path, av, target, revision, place)
    place = in_full(place) if train else place
    verbalizer = _load_verbalizer(path / "av", av, place)
    reconstructor = None
    if (path / "ar").is_dir():
        reconstructor = _load_reconstructor(path / "ar", contract_in(path / "ar"), layer, place)
    model.self_check(layer)
    extra = av.legible
    probes = ProbeSet.load(path / PROBES) if (path / PROBES).exists() else None
    return Checkpoint(
        path=path,
        verbalizer=verbalizer,
        reconstructor=reconstructor,
        target=model,
        contract=av,
        layer=layer,
        variance=extra.variance.value if extra and extra.variance else None,
        lookup=TokenLookup.load(path / LOOKUP) if (path / LOOKUP).exists() else None,
        language=languages.get(extra.language) if extra and extra.language else None,
        calibrator=load_calibrator(path, av, verbalizer, reconstructor, probes),
        probes=probes,
    )


def _layer(path: Path, av: ModelContract) -> int:
    """Layer K: the verbalizer's contract names it, or the reconstructor's."""
    found = av.legible.layer if av.legible and av.legible.layer is not None else av.layer
    if found is None and (path / "ar").is_dir():
        found = contract_in(path / "ar").layer
    if found is None:
        raise ContractError(f"{path}: no contract names the layer.\n  Add extraction_layer_index to av/nla_meta.yaml.")
    return found


def _target_name(path: Path, av: ModelContract, name: str | None) -> tuple[str, str | None]:
    """Where the target lies, and its revision on the hub."""
    record = av.legible.target if av.legible else None
    if name is None and (path / "target").is_dir():
        name = str(path / "target")
    revision = record.revision if record and name is None else None
    name = name or (record.id if record else None)
    if name is None:
        raise ContractError(f"{path}: the contract names no target.\n  Pass the target's directory or hub name.")
    return name, revision


def _load_target(path: Path, av: ModelContract, name: str, revision: str | None, place: Placement) -> Target:
    record = av.legible.target if av.legible else None
    target = Target.load(name, revision=revision, place=place)
    if target.d_model != av.d_model:
        raise ContractError(
            f"{path} was made for a target of width {av.d_model}, but {name} has {target.d_model}.\n"
            "  Use the target that the contract names."
        )
    if record and record.sha256 and target.sha256() != record.sha256:
        raise ContractError(
            f"the weights of {name} are not those that {path} was trained on "
            f"(sha256 {target.sha256()[:12]}, the contract says {record.sha256[:12]}).\n"
            "  The usual cause is a target that was trained again or another revision. Restore it."
        )
    return target


def _injection(contract: ModelContract) -> Injection:
    ours = contract.legible.injection if contract.legible else InjectionRecord()
    return Injection(ours.mode, contract.extraction.injection_scale, ours.block)


def _load_verbalizer(folder: Path, contract: ModelContract, place: Placement) -> Verbalizer:
    tokenizer = load_tokenizer(str(folder))
    ids = contract.legible.prompt.av if contract.legible and contract.legible.prompt else None
    tokens, template = contract.tokens, contract.prompt_templates.av
    if ids is not None:
        placeholder = ids.placeholder_id if ids.placeholder_id is not None else ids.stop_ids[0]
        prompt = VerbalizerPrompt(
            tuple(ids.prefix_ids),
            tuple(ids.suffix_ids),
            tuple(ids.stop_ids),
            tuple(ids.banned_ids),
            ids.tags,
            placeholder,
        )
    elif tokens is not None and template is not None:
        neighbours = tokens.injection_left_neighbor_id, tokens.injection_right_neighbor_id
        prompt = chat_verbalizer_prompt(
            tokenizer, template, tokens.injection_char, tokens.injection_token_id, *neighbours
        )
    else:
        raise _no_prompt(folder)
    verbalizer = Verbalizer.load(folder, prompt, _injection(contract), place=place)
    ensure_contract(contract, tokenizer=verbalizer.tokenizer, d_model=verbalizer.arch.d_model, where=folder)
    return verbalizer


def _load_reconstructor(folder: Path, contract: ModelContract, layer: int, place: Placement) -> Reconstructor:
    ids = contract.legible.prompt.ar if contract.legible and contract.legible.prompt else None
    template = contract.prompt_templates.ar
    if ids is not None:
        prompt = ReconstructorPrompt(tuple(ids.prefix_ids), tuple(ids.suffix_ids))
    elif template is not None:
        suffix = contract.tokens.critic_suffix_ids if contract.tokens else None
        special = contract.legible is None or contract.legible.bos is not False
        tokenizer = load_tokenizer(str(folder))
        prompt = template_reconstructor_prompt(tokenizer, template, suffix or (), special_tokens=special)
    else:
        raise _no_prompt(folder)
    reconstructor = Reconstructor.load(folder, prompt, place=place)
    ensure_contract(contract, tokenizer=reconstructor.tokenizer, d_model=reconstructor.arch.d_model, where=folder)
    if reconstructor.layer != layer:
        raise ContractError(
            f"{folder} keeps {reconstructor.layer + 1} blocks, expected {layer + 1} for layer {layer}.\n"
            "  The usual cause is a reconstructor of another layer, or one cut by a count from 1."
        )
    return reconstructor


def _no_prompt(folder: Path) -> ContractError:
    return ContractError(
        f"{folder} says nothing about its prompt: neither prompt_templates with tokens nor legible.prompt.\n"
        f"  legible contract check {folder}"
    )
