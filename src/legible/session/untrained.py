"""Readings of methods without training, as a session returns its own."""

from legible.config import AUTO, Placement
from legible.models.chats import chat_text
from legible.reading import zero_shot
from legible.session.readings import Readings


def read_untrained(
    model: str,
    method: str,
    text: str,
    layer: int | None = None,
    positions: str = "all",
    *,
    chat: bool = False,
    place: Placement = AUTO,
) -> Readings:
    """A text read by the model itself; the readings have neither scores nor probabilities.

    Args:
        model, method, layer, place: see `legible.reading.zero_shot.load`.
        text, positions, chat: as for `Session.read`.

    Raises:
        UsageError: no such model, method, layer or position, or no chat template.
    """
    reader = zero_shot.load(model, method, layer=layer, place=place)
    whole = chat_text(reader.instrument.target, [("user", text)], reply=True) if chat else text
    readings = reader.read(whole, positions=positions)
    return Readings(readings, [0] * len(readings), [whole], reader.about())
