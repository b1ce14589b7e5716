"""A checkpoint opened: its contract checked against the live tokenizer and target."""

from dataclasses import replace
from pathlib import Path

from legible import languages
from legible.config import AUTO, Placement
from legible.contract import (
    InjectionRecord,
    LegibleExtra,
    ModelContract,
    VarianceRecord,
    ensure_contract,
    sidecar_path,
)
from legible.display import visible
from legible.errors import ContractError
from legible.fileio import file_sha256
from legible.injection import Injection
from legible.languages.base import Language
from legible.models.differences import holds_differences
from legible.models.loading import blocks_in, end_ids, load_tokenizer
from legible.models.memory import check_loading
from legible.models.placement import in_full
from legible.models.reconstructor import Reconstructor
from legible.models.target import Target
from legible.models.verbalizer import Verbalizer
from legible.probes.lookup import TokenLookup
from legible.probes.probes import ProbeSet
from legible.progress import note
from legible.prompts import (
    ReconstructorPrompt,
    VerbalizerPrompt,
    chat_verbalizer_prompt,
    template_reconstructor_prompt,
)
from legible.reading.calibrated import load_calibrator
from legible.reading.checkpoint import PROBES, Checkpoint, contract_in
from legible.reading.locate import Located, locate
from legible.reading.measured import LOOKUP, VARIANCE, Measured, kept_in
from legible.reading.studied import load_contracts_target, load_studied, target_name, warning_of
from legible.reading.told_target import check_width, other_name


def load_checkpoint(
    name: str | Path,
    *,
    target: str | Target | None = None,
    reconstructor: str | None = None,
    other_target: bool = False,
    place: Placement = AUTO,
    train: bool = False,
) -> Checkpoint:
    """Load a checkpoint and check its contract against the live tokenizer and target.

    Args:
        name: a checkpoint's folder, a run's folder (its `checkpoint/`), half a pair (folder or hub
            name), or a shipped pair.
        target: the target's directory or hub name, where the contract names none or it has moved; or one in memory,
            which stays where it is.
        reconstructor: its folder or hub name, where it is not beside the verbalizer; `none` does without.
        other_target: read `target` even where its weights are not those that the contract names. Differences stay over
            the contract's own target, which has to be there too; p_true, V and floors stay those of that one.
        place: the device, and how the weights are held.
        train: both roles in float32, whatever `place` says of the weights: to be trained.

    Raises:
        UsageError: nothing of that name, or pickle weights only.
        NotEnoughMemoryError: target and roles together do not fit.
        ContractError: a contract that is broken, was made for another tokenizer or model, or names a language that is
            not there.
    """
    found = locate(name, reconstructor)
    path = found.folder
    av = contract_in(found.av, "av")
    ar = contract_in(found.ar, "ar") if found.ar is not None else None
    language = _language(found, av)
    layer = _layer(found, av, ar)
    here = (target.model.name_or_path or target.name) if isinstance(target, Target) else target
    base, revision = target_name(found, av, ar, here)
    unknown = None if here is None else other_name(here, av)
    if isinstance(target, str):
        check_width(target, av, found.av)
    if unknown is not None:
        note(f"warning: {visible(unknown)}")
    whole = [str(role) for role in (found.av, found.ar) if role is not None and not holds_differences(role)]
    stored = [] if isinstance(target, Target) else [base]
    check_loading(stored if train else [*stored, *whole], place, trained=whole if train else (), revision=revision)
    model = load_studied(found, av, base, revision, place, target)
    other = warning_of(found, av, model, allowed=other_target)
    over = model
    if other is not None and any(holds_differences(role) for role in (found.av, found.ar) if role is not None):
        over = load_contracts_target(found, av, ar, place)
    place = in_full(place) if train else place
    writer = _load_verbalizer(found.av, av, over, place)
    reader = _load_reconstructor(found.ar, ar, layer, over, place) if found.ar and ar else None
    model.self_check(layer)
    recorded = av.legible is not None and av.legible.variance is not None
    kept = None if recorded else kept_in(found.kept, model, layer)
    measured = Measured.load(kept, model, layer, place) if kept is not None else None
    if measured is not None:
        av = av.model_copy(update={"legible": _with_variance(av, measured.variance)})
    extra = av.legible
    lookup = TokenLookup.load(path / LOOKUP) if (path / LOOKUP).exists() else None
    for role in (writer, reader):
        if role is not None and role.over is not None and extra and extra.target:
            role.over = extra.target.id  # not where the target happens to lie now
    probes = ProbeSet.load(path / PROBES) if (path / PROBES).exists() else None
    return Checkpoint(
        path=path,
        verbalizer=writer,
        reconstructor=reader,
        target=model,
        contract=av,
        layer=layer,
        variance=extra.variance.value if extra and extra.variance else None,
        lookup=lookup or (measured.lookup if measured is not None else None),
        language=language,
        calibrator=load_calibrator(path, av, writer, reader, probes, place),
        probes=probes,
        given=found,
        kept=kept,
        measured=file_sha256(kept / VARIANCE) if kept is not None and measured is not None else None,
        other_target=other or unknown,
    )


def _with_variance(contract: ModelContract, variance: VarianceRecord) -> LegibleExtra:
    return (contract.legible or LegibleExtra()).model_copy(update={"variance": variance})


def _language(found: Located, av: ModelContract) -> Language | None:
    """Who knows the claims of the pair's explanations; None for free text.

    Raises:
        ContractError: none here does.
    """
    named = av.legible.language if av.legible is not None else None
    if named is not None and named not in languages.names():
        raise ContractError(
            f"{sidecar_path(found.av)}: the claims of this pair are of the language {named!r}, "
            f"expected {', '.join(languages.names())} or none.\n"
            "  The usual cause is a pair that another version of Legible trained; its weights are as good as ever.\n"
            "  Write `language: null` in its place, and its explanations are read as free text, without verdicts."
        )
    return languages.get(named) if named is not None else None


def _layer(found: Located, av: ModelContract, ar: ModelContract | None) -> int:
    """Layer K: what the reconstructor's own config.json says, which keeps K + 1 blocks; without one the contract's.

    So too where the reconstructor keeps blocks of its choice.

    Raises:
        ContractError: a contract says another, or without a reconstructor none.
    """
    chosen = ar.legible.blocks.ar if ar and ar.legible and ar.legible.blocks else None
    if found.ar is None or ar is None or chosen is not None or holds_differences(found.ar):
        named = av.legible.layer if av.legible and av.legible.layer is not None else av.layer
        if named is None:
            raise ContractError(
                f"{found.av}: no contract names the layer.\n"
                "  Add extraction_layer_index to its nla_meta.yaml, or read with the reconstructor: its blocks say it."
            )
        return named
    layer = blocks_in(found.ar) - 1
    for folder, contract in ((found.av, av), (found.ar, ar)):
        own = contract.legible.layer if contract.legible else None
        if not contract.may_mean(layer) or own not in (None, layer):
            raise ContractError(
                f"{found.ar} keeps {layer + 1} blocks (its config.json), so it reads layer {layer}, but the contract "
                f"in {folder} says layer {contract.layer if own is None else own}.\n"
                "  The usual cause is a reconstructor of another layer, or one cut by a count from 1."
            )
    return layer


def _injection(contract: ModelContract) -> Injection:
    ours = contract.legible.injection if contract.legible else InjectionRecord()
    return Injection(ours.mode, contract.extraction.injection_scale, ours.block)


def _load_verbalizer(folder: Path, contract: ModelContract, target: Target, place: Placement) -> Verbalizer:
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
        tokenizer = load_tokenizer(str(folder))
        prompt = chat_verbalizer_prompt(
            tokenizer, template, tokens.injection_char, tokens.injection_token_id, *neighbours
        )
    else:
        raise _no_prompt(folder)
    kept = contract.legible.blocks.av if contract.legible and contract.legible.blocks else None
    verbalizer = Verbalizer.load(folder, prompt, _injection(contract), target=target, blocks=kept, place=place)
    _check_own(folder, contract.legible or LegibleExtra(), verbalizer)
    if ids is None:
        verbalizer.ask(_with_ends(verbalizer))
    ensure_contract(contract, tokenizer=verbalizer.tokenizer, d_model=verbalizer.arch.d_model, where=folder)
    return verbalizer


def _with_ends(verbalizer: Verbalizer) -> VerbalizerPrompt:
    """Its prompt, stopped by every end that its own files name too: a chat template need not name them all."""
    prompt, named = verbalizer.prompt, end_ids(verbalizer.model, verbalizer.tokenizer)
    stops = tuple(dict.fromkeys((*prompt.stop_ids, *named)))
    banned = tuple(token for token in prompt.banned_ids if token not in stops)
    return replace(prompt, stop_ids=stops, banned_ids=banned)


def _load_reconstructor(
    folder: Path, contract: ModelContract, layer: int, target: Target, place: Placement
) -> Reconstructor:
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
    kept = contract.legible.blocks.ar if contract.legible and contract.legible.blocks else None
    reconstructor = Reconstructor.load(folder, prompt, target=target, layer=layer, blocks=kept, place=place)
    ensure_contract(contract, tokenizer=reconstructor.tokenizer, d_model=reconstructor.arch.d_model, where=folder)
    return reconstructor


def _check_own(folder: Path, extra: LegibleExtra, verbalizer: Verbalizer) -> None:
    """Compare the head and the map that lie in the folder with what the contract says of them.

    Raises:
        ContractError: one of them is missing, or not mentioned.
    """
    found = len(verbalizer.outputs) if verbalizer.outputs else None, verbalizer.injection_map is not None
    said = extra.output_ids, extra.injection.map == "affine"
    if found != said:
        shown = [f"{ids or 'all'} output ids and {'a' if mapped else 'no'} map" for ids, mapped in (found, said)]
        raise ContractError(
            f"{folder} holds {shown[0]}, its contract says {shown[1]}.\n"
            "  The usual cause is an own.safetensors or a sidecar of another checkpoint. Copy the folder again."
        )


def _no_prompt(folder: Path) -> ContractError:
    return ContractError(
        f"{folder} says nothing about its prompt: neither prompt_templates with tokens nor legible.prompt.\n"
        f"  legible contract check {folder}"
    )
