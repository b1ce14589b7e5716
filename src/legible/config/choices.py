"""Names to choose from where no section has a field for them: an option is checked before torch is imported."""

from typing import Literal, get_args

Search = Literal["best-of-n", "beam", "tree"]
"""Searches for the explanation that the reconstructor likes best (`legible.engines.search`)."""
SEARCHES: tuple[Search, ...] = get_args(Search)

Instrument = Literal[
    "token-lookup", "logit-lens", "tuned-lens", "jacobian-lens", "patchscopes", "selfie", "asked", "k-shot",
    "nearest-neighbours", "reading-vectors", "sae", "probes",
]  # fmt: skip
"""The register of instruments, in the order of reports: NAME-OF-IT is the module `legible.instruments.name_of_it`."""
INSTRUMENTS: tuple[Instrument, ...] = get_args(Instrument)

SteerMode = Literal["later", "one", "patch"]
"""Add at the token and all later ones; at it alone; or move its activation towards the edited reconstruction
(`legible.steer.sweep`)."""
STEER_MODES: tuple[SteerMode, ...] = get_args(SteerMode)
