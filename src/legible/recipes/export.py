"""`legible export CHECKPOINT`: a pair in another form, and what the form costs.

    merged     whole models, as any tool of transformers loads them
    adapters   differences from the target: PEFT adapters, and weights of a role's own
    easynla    the adapter folders of EasyNLA
    kitft      the released layout, two folders NAME-av and NAME-ar

A form that another tool would read as something else is refused, with the reason. A target that a checkpoint carries
goes along in every form, as `target` in the new folder.
"""

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, get_args

import torch

from legible.contract import (
    DatasetContract,
    Extraction,
    LegibleExtra,
    ModelContract,
    TargetRecord,
    Templates,
    write_contract,
)
from legible.engines import make_engine
from legible.errors import UsageError
from legible.fileio import write_directory
from legible.models.adapters import save_reconstructor_adapter
from legible.models.low_rank import low_rank
from legible.models.reconstructor import Reconstructor
from legible.models.verbalizer import Verbalizer
from legible.reading.calibrated import fingerprint, store_calibrator
from legible.reading.checkpoint import Checkpoint, contracts_of, save_checkpoint
from legible.reading.locate import TARGET
from legible.reading.opening import load_checkpoint
from legible.recipes.adapters import INJECTION, AdapterFolders, import_adapters
from legible.recipes.pair import Pair, pair_of, target_along
from legible.vectors import direction_mse

Form = Literal["merged", "adapters", "easynla", "kitft"]
FORMS: tuple[Form, ...] = get_args(Form)
RANK = 64
PROBES = 12  # activations on which the new form is compared with the old one
TOKENS = 48  # of each explanation there
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def export_checkpoint(
    name: str,
    form: Form,
    out: Path,
    *,
    rank: int | None = None,
    dtype: str = "float32",
    target: str | None = None,
) -> dict[str, Any]:
    """Write a checkpoint in another form, then compare what both write and reconstruct.

    Args:
        name: the checkpoint.
        form: one of `FORMS`.
        out: the new folder.
        rank: cut the differences to this rank (adapters, easynla); absent: differences as they are, those of whole
            models to `RANK`.
        dtype: number format of the weights on disk, a key of `DTYPES`.
        target: the target's directory or hub name, where the contract's has moved.

    Returns:
        `form`, `out`, `bytes` of each role's weights, `kept` (share of the squared weight differences, where they were
        cut), `command` (reads or imports the new form), and over `probes` activations `equal` explanations and the
        largest `direction_mse` between the reconstructions of one text.

    Raises:
        UsageError: no such form or number format, `out` is there already, or the form cannot hold this pair.
    """
    _check(form, out, rank, dtype)
    found = load_checkpoint(name, target=target)
    pair, kept = _converted(found, form, rank)
    {"merged": _whole, "adapters": _whole, "easynla": _easynla, "kitft": _kitft}[form](
        found, pair, out, form, DTYPES[dtype], kept is not None
    )
    told: dict[str, Any] = {"form": form, "out": str(out), "bytes": _bytes(out), "kept": kept}
    told["command"] = _command(form, out)
    with TemporaryDirectory() as scratch:
        told |= _compared(found, _read_back(found, form, out, Path(scratch)))
    if form in ("merged", "adapters"):
        _carry_calibrator(found, out, exact=kept is None and dtype == "float32")
    return told


def summary_lines(told: dict[str, Any]) -> list[str]:
    """What an export left and what it cost, for a reader."""
    lines = [f"{role}: {size / 1e6:.1f} MB of weights" for role, size in told["bytes"].items()]
    for role, share in (told["kept"] or {}).items():
        lines.append(f"{role}: the low rank keeps {share:.2%} of the squared weight differences")
    lines.append(
        f"read back: {told['equal']} of {told['probes']} explanations are word for word the same; reconstructions "
        f"of one text differ by a direction_mse of at most {told['direction_mse']:.2g}"
    )
    if told["kept"]:
        lines.append("FVE and truth of the cut pair are its own: legible evaluate and legible truth measure them")
    lines.append(told["command"])
    return lines


def _check(form: str, out: Path, rank: int | None, dtype: str) -> None:
    if form not in FORMS:
        raise UsageError(f"no form {form!r}: expected {', '.join(FORMS)}, or parquet for a store of activations.")
    if dtype not in DTYPES:
        raise UsageError(f"no number format {dtype!r}: expected {', '.join(DTYPES)}.")
    if rank is not None and form not in ("adapters", "easynla"):
        raise UsageError(f"--rank cuts differences from the target, and the form {form} holds whole models.")
    if out.exists():
        raise UsageError(f"{out} is there already.\n  Name a new folder with --out.")


def _converted(found: Checkpoint, form: Form, rank: int | None) -> tuple[Pair, dict[str, float] | None]:
    """The pair as the form needs it, and the shares that a cut to low rank keeps."""
    pair = pair_of(found)
    if form in ("easynla", "kitft"):
        _refuse_misread(found, pair, form)
    if form not in ("adapters", "easynla") or (rank is None and all(role.over is not None for role in pair)):
        return pair, None
    return low_rank_pair(found, RANK if rank is None else rank)


def low_rank_pair(found: Checkpoint, rank: int) -> tuple[Pair, dict[str, float]]:
    """Both roles over the target's weights, their differences cut to a rank.

    Returns:
        The roles, and by role the share of the squared differences that is kept.

    Raises:
        UsageError: a rank below 1, no reconstructor, or a role of other shapes than the target's.
    """
    pair = pair_of(found)
    av, av_share = low_rank(pair[0], found.target, rank)
    ar, ar_share = low_rank(pair[1], found.target, rank)
    av.over = ar.over = _target_id(found)
    return (av, ar), {"av": av_share, "ar": ar_share}


def _refuse_misread(found: Checkpoint, pair: Pair, form: Form) -> None:
    """Refuse what the readers of a form would take for something else.

    Raises:
        UsageError: names it, and the forms that can hold the pair.
    """
    verbalizer, reconstructor = pair
    reasons = {
        "a head over some token ids": verbalizer.outputs is not None,
        "a learned map of the vector": verbalizer.injection_map is not None,
        "some of the target's blocks only": (verbalizer.blocks or reconstructor.blocks) is not None,
    }
    if form == "kitft":
        reasons["a vector that is added instead of replacing an embedding"] = verbalizer.injection.mode != "replace"
    else:
        where = verbalizer.injection.mode, verbalizer.injection.block
        reasons["a vector that is not added after block 1"] = where != (INJECTION.mode, INJECTION.block)
        reasons["a prompt without marker token and template"] = found.marker is None
        read = reconstructor.prompt
        reasons["a reconstructor that does not read a template without start token"] = (
            read.template is None or read.special_tokens
        )
    if wrong := [reason for reason, holds in reasons.items() if holds]:
        listed = "\n".join(f"  - {reason}" for reason in wrong)
        raise UsageError(
            f"the form {form} cannot hold this pair: its readers would compute something else. It has no place for\n"
            f"{listed}\n  Write it as --form merged or --form adapters."
        )


def _whole(found: Checkpoint, pair: Pair, out: Path, form: Form, dtype: torch.dtype, cut: bool) -> None:
    extra = found.contract.legible or LegibleExtra()
    changes: dict[str, Any] = {"metrics": {} if cut else extra.metrics}
    files: dict[str, Any] = {
        "target_dir": target_along(found),
        "lookup": found.lookup,
        "probes": found.probes,
        "marker": found.marker,
    }
    extra = extra.model_copy(update=changes)
    save_checkpoint(out, *pair, extra, dtype=dtype, merged=form == "merged", **files)


def _kitft(found: Checkpoint, pair: Pair, out: Path, _form: Form, dtype: torch.dtype, _cut: bool) -> None:
    extra = found.contract.legible or LegibleExtra()
    own, record = target_along(found), extra.target
    if own is not None and (record is None or not record.sha256):  # by it the target beside the folders is known
        record = TargetRecord(id=_target_id(found), sha256=found.target.sha256())
    extra = extra.model_copy(update={"calibrator": None, "target": record})  # the calibrator's file stays behind
    contracts = contracts_of(*pair, extra, found.marker)
    roles: tuple[Verbalizer | Reconstructor, ...] = pair

    def write(folder: Path) -> None:
        for name, role, contract in zip(("av", "ar"), roles, contracts, strict=True):
            to = folder / f"{out.name}-{name}"
            role.save(to, dtype=dtype, merged=True)
            told = {**contract.model_dump(mode="json"), "base_checkpoint": _target_id(found)}
            write_contract(to, ModelContract.model_validate(told))
        if own is not None:
            shutil.copytree(own, folder / TARGET)

    _written(out, write)
    _say_left(found)
    if found.marker is None:
        print(
            "its prompt has no marker token: legible reads these folders, other tools cannot place the vector",
            file=sys.stderr,
        )


def _easynla(found: Checkpoint, pair: Pair, out: Path, _form: Form, dtype: torch.dtype, _cut: bool) -> None:
    verbalizer, reconstructor = pair
    marker, template = found.marker, reconstructor.prompt.template
    assert marker is not None
    sidecar = DatasetContract(
        dataset_id=out.name,
        stage="rl",
        row_count=0,
        extraction=Extraction(base_model=_target_id(found), d_model=found.target.d_model, layer_index=found.layer),
        tokens=marker.tokens,
        prompt_templates=Templates(av=marker.template, ar=template),
    )

    def write(folder: Path) -> None:
        verbalizer.save(folder / "av", dtype=dtype)
        save_reconstructor_adapter(reconstructor, folder / "ar", dtype)
        for name in ("av", "ar"):
            write_contract(folder / name, sidecar)
        if (own := target_along(found)) is not None:
            shutil.copytree(own, folder / TARGET)

    _written(out, write)
    _say_left(found)


def _written(out: Path, write: Callable[[Path], None]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    write_directory(out, write)


def _say_left(found: Checkpoint) -> None:
    """Say which fitted parts of a checkpoint another tool's layout has no place for."""
    parts = {"token lookup": found.lookup, "probes": found.probes, "calibrator": found.calibrator}
    if left := [name for name, part in parts.items() if part is not None]:
        print(f"not carried over, since the form has no place for them: {', '.join(left)}", file=sys.stderr)


def _command(form: Form, out: Path) -> str:
    """The next command, which reads the new form or makes a checkpoint of it."""
    if form == "easynla":
        base = [f"--base {out / TARGET}"] if (out / TARGET).is_dir() else []
        return " ".join(["legible import-adapters", f"--av {out / 'av'} --ar {out / 'ar'}", *base, "--out CHECKPOINT"])
    return f"legible read {out / f'{out.name}-av' if form == 'kitft' else out} TEXT"


def _target_id(found: Checkpoint) -> str:
    record = found.contract.legible.target if found.contract.legible else None
    return record.id if record is not None else found.target.name


def _read_back(found: Checkpoint, form: Form, out: Path, scratch: Path) -> Checkpoint:
    """The new form as its own reader reads it: with the target that went along, if one did."""
    target = None if (out / TARGET).is_dir() else found.target.name
    if form != "easynla":
        return load_checkpoint(out / f"{out.name}-av" if form == "kitft" else out, target=target)
    base = target or str(out / TARGET)
    import_adapters(AdapterFolders([out / "av"], out / "ar", base=base), scratch / "checkpoint")
    return load_checkpoint(scratch / "checkpoint", target=base)


@torch.no_grad()
def _compared(old: Checkpoint, new: Checkpoint) -> dict[str, Any]:
    """What both write of the same activations and reconstruct from the same texts."""
    target, rows = old.target, len(old.target.arch.embedding.weight)
    ids = (torch.arange(min(PROBES, target.context)) * 7 + 3).remainder(rows)[None]
    vectors = target.streams(ids, torch.ones_like(ids), (old.layer,))[old.layer][0].cpu()
    length = min(TOKENS, old.longest)
    written = [
        [group[0] for group in make_engine(each.verbalizer).generate(vectors, max_tokens=length)] for each in (old, new)
    ]
    texts = list(dict.fromkeys(one.text for one in written[0]))
    back = [pair_of(each)[1].reconstruct(texts) for each in (old, new)]
    return {
        "probes": len(vectors),
        "equal": sum(a.ids == b.ids for a, b in zip(*written, strict=True)),
        "direction_mse": float(direction_mse(*back).max()),
    }


def _carry_calibrator(found: Checkpoint, out: Path, *, exact: bool) -> None:
    """Keep the calibrator with a pair that computes the same; with another one it may not speak."""
    old = found.calibrator
    if old is None or old.refusal is not None:
        return
    if not exact:
        print("the calibrator is not carried over: it was fitted on the weights as they were", file=sys.stderr)
        return
    new = load_checkpoint(out, target=found.target.name)
    own = fingerprint(new.verbalizer, new.reconstructor, new.probes)
    single, sampled = (
        None if one is None else replace(one, fitted=replace(one.fitted, pair=own)) for one in (old.single, old.sampled)
    )
    store_calibrator(out, replace(old, single=single, sampled=sampled))


def _bytes(out: Path) -> dict[str, int]:
    """Bytes of weights of each role."""
    return {
        role: sum(file.stat().st_size for file in out.rglob("*.safetensors") if file.parent.name.endswith(role))
        for role in ("av", "ar")
    }
