"""The model under study of a checkpoint: where it lies, and whether it is the one that the contract names."""

from pathlib import Path

from legible.config import Placement
from legible.contract import SIDECAR, ModelContract
from legible.display import visible
from legible.errors import ContractError
from legible.models.hub import NotFoundError
from legible.models.placement import FULL
from legible.models.target import Target
from legible.progress import note
from legible.reading.locate import Located
from legible.reading.told_target import wrong_width


def target_name(
    found: Located, av: ModelContract, ar: ModelContract | None, given: str | None
) -> tuple[str, str | None]:
    """Where the model under study lies, and its revision: the one given, the folder's own, or a contract's."""
    record = av.legible.target if av.legible else None
    name, revision = given, None
    if name is None and (own := found.own_target(av)) is not None:
        name = str(own)
    if name is None and record is not None:
        name, revision = record.id, record.revision
    if name is None:
        name = _base(found, av, ar)
    return name, revision


def load_studied(
    found: Located, av: ModelContract, name: str, revision: str | None, place: Placement, given: str | Target | None
) -> Target:
    """The model under study: `given` where it is in memory, else what lies under `name`.

    Raises:
        ContractError: of another width, or what the contract names is not to be had (`given`: the user named it).
    """
    try:
        target = given if isinstance(given, Target) else Target.load(name, revision=revision, place=place)
    except NotFoundError as error:
        if given is not None:
            raise
        raise ContractError(
            f"the contract in {found.av} names the target {name}: there is no such folder, and {error.reason}.\n"
            "  Say where it is: --target DIR, or its hub name"
        ) from None
    if target.d_model != av.d_model:
        raise wrong_width(name, target.d_model, av, found.av)
    return target


def load_contracts_target(found: Located, av: ModelContract, ar: ModelContract | None, place: Placement) -> Target:
    """The target that a checkpoint's contract names.

    Raises:
        ContractError: it is not to be had, or what is there under its name are other weights.
        UsageError: a named target that is not here; says how to get it.
    """
    base, revision = target_name(found, av, ar, None)
    target = load_studied(found, av, base, revision, place, None)
    warning_of(found, av, target, allowed=False)
    return target


def warning_of(found: Located, av: ModelContract, target: Target, *, allowed: bool) -> str | None:
    """The warning where a target is not the one that the contract names; None where it is.

    Raises:
        ContractError: it is another, and that is not allowed.
    """
    record = av.legible.target if av.legible else None
    if record is None or not record.sha256 or target.sha256() == record.sha256:
        return None
    if allowed:
        warning = (
            f"{target.name} is not the model that this pair was trained on ({record.id}): what its probabilities, V "
            "and floors are worth here is not known"
        )
        note(f"warning: {visible(warning)}")
        return warning
    raise ContractError(
        f"the weights of {target.name} are not those that {found.folder} was trained on "
        f"(sha256 {target.sha256()[:12]}, the contract says {record.sha256[:12]}).\n"
        f"  The usual cause is {_cause(target)}\n"
        "  A finetune or another copy of it is read on purpose with --other-target (in Python other_target='allowed'); "
        "every reading then says so."
    )


def _cause(target: Target) -> str:
    if target.precision == FULL:
        return "a target that was trained again or another revision. Restore it."
    return f"a copy of it that was rounded to {target.precision} in memory, a finetune, or another revision."


def _base(found: Located, av: ModelContract, ar: ModelContract | None) -> str:
    """`base_checkpoint` of a released pair.

    Raises:
        ContractError: none, two that differ, or one that is itself half a pair: an earlier step of the training.
    """
    named = list(dict.fromkeys(each.base_checkpoint for each in (av, ar) if each and each.base_checkpoint))
    say = "  Say which model it reads: --target DIR, or its hub name"
    if len(named) != 1:
        what = f"name different targets ({', '.join(named)})" if named else "name no target"
        raise ContractError(f"{found.folder}: the contracts {what}.\n{say}")
    if (Path(named[0]) / SIDECAR).is_file():
        raise ContractError(f"base_checkpoint of {found.av} is {named[0]}, itself half a pair, not the target.\n{say}")
    return named[0]
