"""The calibrator of a checkpoint folder: a file that the contract names, bound to the weights it was fitted on."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from legible.config import AUTO, Placement
from legible.contract import CalibratorRecord, LegibleExtra, ModelContract, read_contract, write_contract
from legible.errors import ContractError
from legible.models.placement import precision_part
from legible.models.reconstructor import Reconstructor
from legible.models.verbalizer import Verbalizer
from legible.probes.probes import ProbeSet
from legible.reading.calibration import Calibrators

CALIBRATOR = "calibrator.json"
_ENDS = 64  # values at either end of a tensor: enough to notice another training


def fingerprint(verbalizer: Verbalizer, reconstructor: Reconstructor | None, probes: ProbeSet | None = None) -> str:
    """A short name of the weights of both roles and of the probes.

    It covers shapes and the ends of every tensor, so that large models stay quick, and a precision below float32.
    """
    parts = [role.state_dict() for role in (verbalizer, reconstructor) if role is not None]
    return ends_digest([*parts, *([probes.weights] if probes is not None else [])], precision_part(verbalizer))


def ends_digest(parts: Iterable[Mapping[str, Tensor]], held: Mapping[str, str] | None = None) -> str:
    """A short name of weights by their names, shapes and the ends of every tensor, and by how they are `held`."""
    digest = hashlib.sha256(json.dumps(held).encode() if held else b"")
    for weights in parts:
        for name, weight in sorted(weights.items()):
            flat = weight.detach().flatten()
            ends = torch.cat([flat[:_ENDS], flat[-_ENDS:]]).float().cpu()
            digest.update(f"{name} {tuple(weight.shape)}\n".encode() + ends.numpy().tobytes())
    return digest.hexdigest()[:16]


def record_of(pair: Calibrators) -> CalibratorRecord:
    """What the contract says of a calibrator: its file, and what it was fitted on in words."""
    parts = [
        f"{name}: {c.fitted.claims} claims of {c.fitted.documents} {c.fitted.language} documents "
        f"(split {c.fitted.split}, seed {c.fitted.seed}), {c.fitted.samples} sample(s) at temperature "
        f"{c.fitted.temperature:g}"
        for name, c in (("single", pair.single), ("sampled", pair.sampled))
        if c is not None
    ]
    return CalibratorRecord(file=CALIBRATOR, fitted_on="; ".join(parts))


def store_calibrator(folder: Path, pair: Calibrators) -> None:
    """Write the calibrator into a checkpoint folder, then name it in both contracts.

    A process killed in between leaves the folder as it was: a file that no contract names is not read, one that is
    named already is whole, old or new.
    """
    pair.save(folder / CALIBRATOR)
    amend_contracts(folder, calibrator=record_of(pair))


def amend_contracts(folder: Path, **changes: object) -> None:
    """Change fields of our part in the contracts of a checkpoint folder, each contract at once."""
    for role in ("av", "ar"):
        if not (folder / role).is_dir():
            continue
        contract = read_contract(folder / role)
        assert isinstance(contract, ModelContract)
        extra = (contract.legible or LegibleExtra()).model_copy(update=changes)
        write_contract(folder / role, contract.model_copy(update={"legible": extra}))


def load_calibrator(
    folder: Path,
    contract: ModelContract,
    verbalizer: Verbalizer,
    reconstructor: Reconstructor | None,
    probes: ProbeSet | None = None,
    place: Placement = AUTO,
) -> Calibrators | None:
    """The calibrator that the contract names; None where it names none.

    One of other weights, missing or damaged refuses to speak and says so with every reading: the pair still reads, and
    `legible calibrate` can mend it, where the roles are placed as they were here (`place`).
    """
    record = contract.legible.calibrator if contract.legible else None
    if record is None:
        return None
    if Path(record.file).name != record.file:
        return Calibrators(None, None, f"the contract's calibrator {record.file!r} is not a file of the checkpoint")
    again = f"Fit it anew: legible calibrate CHECKPOINT{place.options()}"
    try:
        pair = Calibrators.load(folder / record.file)
    except ContractError as error:
        return Calibrators(None, None, str(error).splitlines()[0] + " " + again)
    own = fingerprint(verbalizer, reconstructor, probes)
    fitted = {c.fitted.pair for c in (pair.single, pair.sampled) if c is not None}
    if fitted != {own}:
        return replace(pair, refusal=f"the calibrator was fitted on other weights, or in another precision. {again}")
    return pair
