"""A verbalizer and a reconstructor between their stages: loaded from a stage's folder, described by one contract."""

from collections.abc import Sequence
from pathlib import Path

from legible import contract
from legible.config import CaptureConfig
from legible.data.store import Store
from legible.errors import UsageError
from legible.models.reconstructor import Reconstructor
from legible.models.verbalizer import Verbalizer
from legible.reading.checkpoint import Checkpoint

COPIED = 64 * 2**20  # bytes of weights: a local target up to this size is copied into its checkpoints


Pair = tuple[Verbalizer, Reconstructor]


def pair_of(checkpoint: Checkpoint) -> Pair:
    """Both roles of a checkpoint.

    Raises:
        UsageError: it has no reconstructor.
    """
    if checkpoint.reconstructor is None:
        raise UsageError(
            f"{checkpoint.path} has no reconstructor (ar/): so explanations cannot be ranked.\n"
            "  Train both with legible sft."
        )
    return checkpoint.verbalizer, checkpoint.reconstructor


def copied_target(name: str) -> Path | None:
    """The folder to copy into a checkpoint: a local target of at most `COPIED` bytes; None for others."""
    folder = Path(name)
    weights = [] if not folder.is_dir() else [*folder.glob("*.safetensors"), *folder.glob("*.gguf")]
    if not weights or sum(file.stat().st_size for file in weights) > COPIED:
        return None
    return folder


def target_along(checkpoint: Checkpoint) -> Path | None:
    """The folder of the target that goes along with what is made of a checkpoint; None where none does.

    It is the one that the checkpoint carries, else a small local one.
    """
    own = checkpoint.given.own_target(checkpoint.contract) if checkpoint.given is not None else None
    return own or copied_target(checkpoint.target.name)


def describe(
    store: Store,
    layer: int,
    *,
    target: contract.TargetRecord,
    teacher: str | None = None,
    language: str | None = None,
    corpus: str | None = None,
    seed: int | None = None,
    parents: Sequence[str] = (),
    short_documents: int = 0,
) -> contract.LegibleExtra:
    """What the contract of a pair says under `legible:`; what is read off the roles themselves is filled in at saving.

    Args:
        store: the training store: V and the positions come from it.
        layer: layer K that is read.
        target: what is read.
        teacher, language, corpus, seed, parents: where the pair comes from.
        short_documents: how many of the store's documents are a language's own texts of a few sentences.
    """
    capture = store.origin.get("capture")  # absent in a store that was imported from another tool
    positions = CaptureConfig.model_validate(capture).positions_text() if capture else ""
    return contract.LegibleExtra(
        variance=contract.VarianceRecord(
            **store.variance(layer), split="train", positions=positions, short_documents=short_documents or None
        ),
        target=target,
        layer=layer,
        teacher=teacher,
        language=language,  # type: ignore[arg-type]
        corpus=corpus,
        parents=list(parents),
        seed=seed,
    )
