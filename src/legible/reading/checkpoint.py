"""Checkpoints: both roles, their contract, the token lookup and a model card in one folder.

    av/  ar/  [target/]  lookup.safetensors  probes.safetensors  README.md

Nothing in it is trusted unread: weights only from safetensors, the contract checked against the live tokenizer and
target at load.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from legible.contract import (
    BlocksRecord,
    InjectionRecord,
    LegibleExtra,
    ModelContract,
    PromptIds,
    PromptRecord,
    Scales,
    Templates,
    Tokens,
    git_commit,
    read_contract,
    write_contract,
)
from legible.engines import Engine, make_engine
from legible.errors import ContractError
from legible.fileio import file_sha256, write_directory, write_text
from legible.languages.base import Language
from legible.models.placement import precision_part
from legible.models.reconstructor import Reconstructor
from legible.models.roles import weights_sha256
from legible.models.target import Target
from legible.models.verbalizer import Verbalizer
from legible.probes.lookup import TokenLookup
from legible.probes.probes import ProbeSet
from legible.reading.calibrated import CALIBRATOR, amend_contracts, record_of
from legible.reading.calibration import Calibrators
from legible.reading.card import model_card
from legible.reading.floor import uninformed
from legible.reading.locate import Located
from legible.reading.measured import LOOKUP

LONGEST = 300  # tokens of an explanation, where the verbalizer's context allows them
PROBES = "probes.safetensors"
OTHER_TARGET = "other_target"
"""The flag of every reading of a model that is not the one that the pair was trained on."""


@dataclass(frozen=True)
class Marker:
    """The prompt of a verbalizer as other tools know it: marker token with neighbours, and the chat template."""

    tokens: Tokens
    template: str


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in memory. `contract` is the verbalizer's; `variance` is the V of every FVE."""

    path: Path
    verbalizer: Verbalizer
    reconstructor: Reconstructor | None  # None: explanations without scores
    target: Target
    contract: ModelContract
    layer: int
    variance: float | None
    lookup: TokenLookup | None
    language: Language | None
    calibrator: Calibrators | None = None  # None: p_true is null
    probes: ProbeSet | None = None  # None: the calibrator does without them
    given: Located | None = None  # the folders it was loaded from
    kept: Path | None = None  # where what is measured of it is kept; None: in its folder
    measured: str | None = None  # checksum of what `calibrate --variance` left there; None: nothing
    other_target: str | None = None  # the warning, where the target is not the one that the contract names

    @property
    def studied(self) -> str:
        """What reports call the model that is read."""
        record = self.contract.legible.target if self.contract.legible else None
        return record.id if record is not None and self.other_target is None else self.target.name

    @property
    def marker(self) -> Marker | None:
        """The verbalizer's prompt as other tools know it; None for a prompt of our own."""
        tokens, template = self.contract.tokens, self.contract.prompt_templates.av
        return Marker(tokens, template) if tokens is not None and template is not None else None

    @cached_property
    def engine(self) -> Engine:
        """Writes this checkpoint's explanations, here and now."""
        return make_engine(self.verbalizer)

    @cached_property
    def parts(self) -> dict[str, str | int | None]:
        """What a stage depends on that starts from this checkpoint, as parts of an identity; ask before training."""
        files = {name: self.path / name for name in (LOOKUP, PROBES)}
        return {
            "verbalizer": weights_sha256(self.verbalizer),
            "reconstructor": weights_sha256(self.reconstructor) if self.reconstructor is not None else None,
            "target": self.target.sha256(),
            "layer": self.layer,
            "language": self.language.name if self.language is not None else None,
            **precision_part(self.target.model),
            **{name: file_sha256(file) if file.exists() else None for name, file in files.items()},
            **({"measured": self.measured} if self.measured is not None else {}),
        }

    @property
    def longest(self) -> int:
        """Most tokens of an explanation: what the verbalizer's context has room for."""
        prompt = self.verbalizer.prompt
        config = self.verbalizer.model.config.get_text_config()
        used = len(prompt.prefix_ids) + 1 + len(prompt.suffix_ids)
        return min(LONGEST, int(config.max_position_embeddings) - used)

    @cached_property
    def uninformed(self) -> Float[Tensor, "n d_model"]:
        """What words that say nothing of an activation reconstruct: behind every `floor_fve`, written once, here."""
        if self.reconstructor is None:
            return torch.empty(0, self.target.d_model)
        return uninformed(
            self.engine, self.reconstructor, self.target, self.layer, self.lookup, max_tokens=self.longest
        )


def save_checkpoint(
    path: Path,
    verbalizer: Verbalizer,
    reconstructor: Reconstructor,
    extra: LegibleExtra,
    *,
    target_dir: Path | None = None,
    lookup: TokenLookup | None = None,
    probes: ProbeSet | None = None,
    calibrator: Calibrators | None = None,
    dtype: torch.dtype = torch.float32,
    merged: bool = False,
    marker: Marker | None = None,
) -> Path:
    """Write a checkpoint folder, whole or not at all; an older one at `path` is replaced.

    Args:
        path: the folder.
        verbalizer, reconstructor: trained roles.
        extra: our part of the contract; injection, layer, prompts and commit are filled in from what is saved.
        target_dir: the target's folder, copied along where the target is not public.
        lookup: the token lookup fitted on the training documents, behind context FVE.
        probes: what the activation holds, fitted on the training documents; evidence behind p_true.
        calibrator: fitted on these very roles; one that `extra` names is not carried over.
        dtype: number format of the roles' weights on disk.
        marker: what other tools need to know of the verbalizer's prompt, where it is one of theirs.
        merged: write whole models even of roles over the target's weights, which else leave their differences alone.

    Returns:
        `path`.
    """
    record = record_of(calibrator) if calibrator is not None else None
    av, ar = contracts_of(verbalizer, reconstructor, extra.model_copy(update={"calibrator": record}), marker)
    sizes = {"av": parameter_count(verbalizer), "ar": parameter_count(reconstructor)}

    def write(folder: Path) -> None:
        verbalizer.save(folder / "av", dtype=dtype, merged=merged)
        write_contract(folder / "av", av)
        reconstructor.save(folder / "ar", dtype=dtype, merged=merged)
        write_contract(folder / "ar", ar)
        if target_dir is not None:
            shutil.copytree(target_dir, folder / "target")
        if lookup is not None:
            lookup.save(folder / LOOKUP)
        if probes is not None:
            probes.save(folder / PROBES)
        if calibrator is not None:
            calibrator.save(folder / CALIBRATOR)
        write_text(folder / "README.md", model_card(path.name, av.legible or extra, sizes))

    path.parent.mkdir(parents=True, exist_ok=True)
    write_directory(path, write)
    return path


def store_metrics(checkpoint: Checkpoint, metrics: Mapping[str, Any]) -> None:
    """Put figures, each with n and interval, into the contracts and the card of a checkpoint's folder.

    The weights stay as they are.
    """
    amend_contracts(checkpoint.path, metrics=dict(metrics))
    extra = contract_in(checkpoint.path / "av").legible or LegibleExtra()
    roles = {"av": checkpoint.verbalizer, "ar": checkpoint.reconstructor}
    sizes = {name: parameter_count(role) for name, role in roles.items() if role is not None}
    write_text(checkpoint.path / "README.md", model_card(checkpoint.path.name, extra, sizes))


def contracts_of(
    verbalizer: Verbalizer, reconstructor: Reconstructor, extra: LegibleExtra, marker: Marker | None = None
) -> tuple[ModelContract, ModelContract]:
    """The contracts of both roles, filled in from the live objects."""
    av, ar = verbalizer.prompt, reconstructor.prompt
    whole = extra.model_copy(
        update={
            "injection": InjectionRecord(
                mode=verbalizer.injection.mode,
                block=verbalizer.injection.block,
                map="affine" if verbalizer.injection_map is not None else None,
            ),
            "layer": reconstructor.layer,
            "blocks": _blocks(verbalizer, reconstructor),
            "output_ids": len(verbalizer.outputs) if verbalizer.outputs is not None else None,
            "prompt": PromptRecord(
                av=PromptIds(
                    prefix_ids=list(av.prefix_ids),
                    suffix_ids=list(av.suffix_ids),
                    stop_ids=list(av.stop_ids),
                    banned_ids=list(av.banned_ids),
                    tags=av.tags,
                    placeholder_id=av.placeholder_id,
                ),
                ar=None
                if ar.template is not None  # then the text of the template is the prompt, special tokens included
                else PromptIds(prefix_ids=list(ar.prefix_ids), suffix_ids=list(ar.suffix_ids)),
            ),
            "bos": ar.special_tokens
            if ar.template is not None
            else ar.prefix_ids[:1] == (reconstructor.tokenizer.bos_token_id,),
            "commit": extra.commit or git_commit(),
        }
    )
    common = {
        "d_model": verbalizer.arch.d_model,
        "extraction_layer_index": reconstructor.layer,
        "extraction": Scales(injection_scale=verbalizer.injection.scale),
        "tokens": marker.tokens if marker is not None else None,
        "prompt_templates": Templates(av=marker.template if marker is not None else None, ar=ar.template),
        "legible": whole,
    }
    return ModelContract(role="av", **common), ModelContract(role="ar", **common)


def _blocks(verbalizer: Verbalizer, reconstructor: Reconstructor) -> BlocksRecord | None:
    """Which of the target's blocks the roles keep; None for the usual ones."""
    av, ar = (None if role.blocks is None else list(role.blocks) for role in (verbalizer, reconstructor))
    return None if av is None and ar is None else BlocksRecord(av=av, ar=ar)


def parameter_count(module: nn.Module) -> int:
    """Number of parameters, tied ones once."""
    return sum(parameter.numel() for parameter in module.parameters())


def contract_in(folder: Path, role: str | None = None) -> ModelContract:
    """The contract in a folder of this role; absent: the one that the folder is called by.

    Raises:
        ContractError: none there, a broken one, or one of something else.
    """
    contract, role = read_contract(folder), role or folder.name
    if not isinstance(contract, ModelContract) or contract.role != role:
        found = contract.role if isinstance(contract, ModelContract) else "a dataset"
        raise ContractError(
            f"{folder} holds the contract of {found}, expected role {role}.\n"
            f"  The folders may be swapped: legible contract check {folder.parent}"
        )
    return contract
