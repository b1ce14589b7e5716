"""The Jacobian lens: what a change along the vector does to the target's last stream, on average over prompts.

    lens(h) = head(final norm(J h)),   J as in `legible.engines.pushing`

Where the logit lens asks what the stream would say if it ended here, this one asks what the blocks to come make of
it, to first order. Products are taken forward, over prompts that stand beside the target; a saved file holds the matrix
itself (`legible instrument jacobian-lens` makes one): `J.K` of shape [d_model, d_model], with `n_prompts`,
`source_layers` and `d_model`.
"""

from collections.abc import Sequence
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from legible.engines.pushing import pushed
from legible.errors import UsageError
from legible.instruments.base import Needs, Offer, Rows, Setting, lacking
from legible.instruments.lens import TOP, Lens
from legible.languages.base import Language
from legible.models.target import Target
from legible.probes import files

KIND = "jacobian_lens"
PROMPTS = 8
LENGTH = 48  # most tokens of a prompt


class JacobianLens(Lens):
    """The words that the vector moves the target towards.

    Args:
        target, layer, top, language: as for `Lens`.
        prompts: token ids of texts whose Jacobians are averaged, products by forward mode.
        matrix: the averaged Jacobian, in place of prompts.
        needs: what it took to make it.
    """

    name = "jacobian-lens"

    def __init__(
        self,
        target: Target,
        layer: int,
        *,
        prompts: Sequence[Sequence[int]] = (),
        matrix: Float[Tensor, "d_model d_model"] | None = None,
        top: int = TOP,
        language: Language | None = None,
        needs: Needs = Needs(),
    ) -> None:
        super().__init__(target, layer, top=top, language=language)
        self.prompts, self.matrix, self._needs = prompts, matrix, needs

    def carried(self, vectors: Float[Tensor, "n d_model"]) -> Float[Tensor, "n d_model"]:
        """The vectors times the averaged Jacobian."""
        if self.matrix is not None:
            return vectors.float() @ self.matrix.T
        return pushed(self.target, self.layer, self.prompts, vectors)

    @classmethod
    def load(cls, path: Path, target: Target, layer: int, language: Language | None = None) -> "JacobianLens":
        """Read a saved matrix.

        Raises:
            UsageError: no such file, one of another model's width, or without this layer.
        """
        missing = f"no Jacobian lens at {path}.\n  Make one: legible instrument {cls.name} MODEL STORE --out FILE"
        about, tensors = files.load(path, KIND, missing)
        if about["d_model"] != target.d_model or layer not in about["source_layers"]:
            raise UsageError(
                f"{path} is of layers {about['source_layers']} and width {about['d_model']}, expected layer {layer} "
                f"and width {target.d_model}.\n  The usual cause is a file of another model or layer."
            )
        needs = Needs(0, int(about["n_prompts"]), about.get("train_cpu_s"))
        return cls(target, layer, matrix=tensors[f"J.{layer}"].float(), language=language, needs=needs)


def prompts_of(target: Target, others: Rows, count: int = PROMPTS, length: int = LENGTH) -> list[list[int]]:
    """The beginnings of the first `count` documents, as token ids."""
    documents = {row.document.doc_id: row.document for row in others.rows}
    return [target.encode(one.text).ids[: min(length, target.context)] for one in list(documents.values())[:count]]


def _made(setting: Setting) -> JacobianLens:
    if setting.weights is not None:
        return JacobianLens.load(setting.weights, setting.target, setting.layer, setting.language)
    if setting.others is None or not len(setting.others):
        raise lacking(JacobianLens.name, "texts to average over, or a file", "Give it: --weights FILE")
    prompts = prompts_of(setting.target, setting.others)
    return JacobianLens(
        setting.target, setting.layer, prompts=prompts, language=setting.language, needs=Needs(0, len(prompts))
    )


OFFER = Offer(
    JacobianLens.name,
    "the head on what the blocks to come make of the activation, to first order",
    "rival",
    "that what the activation moves the next words towards says it (Jacobian lens)",
    _made,
    trained=True,
)
