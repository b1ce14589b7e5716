"""What the untrained target makes of its own activation: the logit lens' words, Patchscopes and SelfIE.

Each text is read by the reconstructor and judged for claims like a reading. The reconstructor was trained on the
teacher's English, so the claims say more about these rivals than the FVE does.
"""

from legible.errors import UsageError
from legible.evaluate.battery.parts import Case, Control, texts_control
from legible.instruments import INSTRUMENTS, Instrument, LogitLens, Patchscopes, SelfIE, Setting, make_instrument
from legible.models.target import Target

WORDS = 10  # of the logit lens
NOTES = {
    Patchscopes.name: "its token identity prompt, no training",
    SelfIE.name: "its default question, no training",
    LogitLens.name: f"the {WORDS} likeliest words, no training",
}


def zero_shot_controls(case: Case, target: Target) -> list[Control]:
    """The three rivals on the rows of the readings, by greedy decoding with their default prompts."""
    controls = []
    for method, note in NOTES.items():
        name, rules_out = method.replace("-", "_"), INSTRUMENTS[method].rules_out
        try:
            said = _instrument(method, target, case.layer).read(case.bench.sample.vectors)
        except UsageError as error:  # a prompt that the target's context cannot hold
            controls.append(Control(name, rules_out, f"n/a: {str(error).partition('.')[0]}"))
            continue
        controls.append(texts_control(case, name, rules_out, [one.words for one in said], note))
    return controls


def _instrument(method: str, target: Target, layer: int) -> Instrument:
    if method == LogitLens.name:
        return LogitLens(target, layer, top=WORDS)
    return make_instrument(method, Setting(target, layer))
