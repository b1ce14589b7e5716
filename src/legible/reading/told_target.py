"""A target that the user names for a pair, held against the contract: its width before it is loaded, and its name.

Where a contract holds the checksum of the weights, that decides, once they are loaded. Released pairs hold a name only.
"""

from pathlib import Path

from legible.contract import ModelContract
from legible.errors import ContractError
from legible.models.loading import width_of
from legible.models.named import own_name


def check_width(name: str, contract: ModelContract, where: Path) -> None:
    """Refuse a target of another width before it is downloaded, converted or loaded.

    Args:
        name: the target's, as the user gave it.
        contract: the verbalizer's.
        where: its folder, for the message.

    Raises:
        ContractError: of another width.
    """
    found = width_of(name)
    if found is not None and found != contract.d_model:
        raise wrong_width(name, found, contract, where)


def wrong_width(name: str, found: int, contract: ModelContract, where: Path) -> ContractError:
    """The error where a target does not have the contract's width."""
    named = _named(contract)
    return ContractError(
        f"{where} was made for a target of width {contract.d_model}, but {name} has {found}.\n"
        f"  Use the target that the contract names{f': {named}' if named else ''}."
    )


def other_name(name: str, contract: ModelContract) -> str | None:
    """The warning where a target goes by another name than the contract's, and no checksum tells them apart.

    A folder called as the contract's target is called without its owner passes, and so does the hub's cache of it.

    Args:
        name: the target's, as the user gave it.
        contract: the verbalizer's.
    """
    record = contract.legible.target if contract.legible else None
    named = _named(contract)
    if named is None or (record is not None and record.sha256):
        return None
    last = named.rpartition("/")[2]
    known = {named, last, own_name(last), "models--" + named.replace("/", "--")}
    if own_name(name) in known or known & {*Path(name).absolute().parts}:
        return None
    return (
        f"the contract names the target {named}, and {name} is read instead; nothing in the contract can tell whether "
        "it is the same model, so what the readings are worth is not known"
    )


def _named(contract: ModelContract) -> str | None:
    record = contract.legible.target if contract.legible else None
    return record.id if record is not None else contract.base_checkpoint
