"""What the untrained target makes of its own activation: the logit lens' words, Patchscopes and SelfIE.

Each text is read by the reconstructor and judged for claims like a reading. The reconstructor was trained on the
teacher's English, so the claims say more about these rivals than the FVE does.
"""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from legible.errors import UsageError
from legible.evaluate.battery.parts import Case, Control, texts_control
from legible.instruments import LogitLens, Patchscopes, SelfIE
from legible.models.target import Target

WORDS = 10  # of the logit lens
PATCHED = "that the target says it untrained when the activation is patched into another prompt (Patchscopes)"
ASKED = "that the target says it untrained when it is asked what the activation says (SelfIE)"
LENS = "that the next words that the activation already points at say it (logit lens)"

Reads = Callable[[Float[Tensor, "n d_model"]], list[str | None]]


def zero_shot_controls(case: Case, target: Target) -> list[Control]:
    """The three rivals on the rows of the readings, by greedy decoding with their default prompts."""
    layer = case.layer
    controls = []
    makers: tuple[tuple[str, str, str, Callable[[], Reads]], ...] = (
        ("patchscopes", PATCHED, "its token identity prompt, no training", lambda: Patchscopes(target, layer).read),
        ("selfie", ASKED, "its default question, no training", lambda: SelfIE(target, layer).read),
        ("logit_lens", LENS, f"the {WORDS} likeliest words, no training", lambda: lens_words(target, layer)),
    )
    for name, rules_out, note, make in makers:
        try:
            texts = make()(case.bench.sample.vectors)
        except UsageError as error:  # a prompt that the target's context cannot hold
            controls.append(Control(name, rules_out, f"n/a: {str(error).partition('.')[0]}"))
            continue
        controls.append(texts_control(case, name, rules_out, texts, note))
    return controls


def lens_words(target: Target, layer: int) -> Reads:
    """A reader that lists the logit lens' words, the likeliest first."""
    lens = LogitLens(target, layer, top=WORDS)

    def read(vectors: Float[Tensor, "n d_model"]) -> list[str | None]:
        return [" ".join(text.strip() for text, _ in words if text.strip()) or None for words in lens.top(vectors)]

    return read
