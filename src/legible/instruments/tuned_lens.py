"""The tuned lens: an affine map carries the stream of a layer to the last one, trained to say what the target says.

    lens(h) = head(final norm(h + W h + b))

Trained by `legible.train.instruments.tuned_lens` against the target's own next-token distributions. Untrained (W and b
zero) it is the logit lens.

Source: Belrose et al., "Eliciting latent predictions from transformers with the tuned lens" (arXiv 2303.08112).
"""

from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from legible.instruments.base import Needs, Offer, Setting, check_trained_on, trained_file
from legible.instruments.lens import TOP, Lens
from legible.languages.base import Language
from legible.models.target import Target
from legible.probes import files

KIND = "tuned_lens"


class TunedLens(Lens):
    """The target's own prediction, as far as an affine map of this layer tells it.

    Args:
        target, layer, top, language: as for `Lens`.
        weight, bias: W and b.
        needs: what it took to make it.
    """

    name = "tuned-lens"

    def __init__(
        self,
        target: Target,
        layer: int,
        weight: Float[Tensor, "d_model d_model"],
        bias: Float[Tensor, " d_model"],
        *,
        top: int = TOP,
        language: Language | None = None,
        needs: Needs = Needs(),
    ) -> None:
        super().__init__(target, layer, top=top, language=language)
        self.weight, self.bias, self._needs = weight, bias, needs

    def carried(self, vectors: Float[Tensor, "n d_model"]) -> Float[Tensor, "n d_model"]:
        """h + W h + b."""
        h = vectors.float()
        return h + h @ self.weight.T + self.bias

    @classmethod
    def load(cls, path: Path, target: Target, layer: int, language: Language | None = None) -> "TunedLens":
        """Read what the training saved.

        Raises:
            UsageError: no such file, or one of another model's width or another layer.
        """
        missing = f"no tuned lens at {path}.\n  Train one: legible instrument {cls.name} MODEL STORE --out FILE"
        about, tensors = files.load(path, KIND, missing)
        check_trained_on(path, about["layer"], len(tensors["bias"]), target, layer)
        needs = Needs(0, int(about["texts"]), about.get("train_cpu_s"))
        return cls(target, layer, tensors["weight"].float(), tensors["bias"].float(), language=language, needs=needs)


def _made(setting: Setting) -> TunedLens:
    command = f"legible instrument {TunedLens.name} MODEL STORE --out FILE"
    path = trained_file(setting, TunedLens.name, "a trained file", command)
    return TunedLens.load(path, setting.target, setting.layer, setting.language)


OFFER = Offer(
    TunedLens.name,
    "the head behind an affine map trained to predict what the target predicts",
    "rival",
    "that the target's own prediction, read off this layer, says it (tuned lens)",
    _made,
    trained=True,
)
