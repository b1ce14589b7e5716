"""Readings by instruments, as a session returns its own."""

from pathlib import Path

from legible.config import AUTO, Placement
from legible.models.chats import chat_text
from legible.recipes.stages.instruments import instrument_reader
from legible.session.readings import Readings


def read_untrained(
    model: str,
    method: str,
    text: str,
    layer: int | None = None,
    positions: str = "all",
    *,
    chat: bool = False,
    weights: Path | None = None,
    place: Placement = AUTO,
) -> Readings:
    """A text read by an instrument; the readings have neither scores nor probabilities.

    Args:
        model, method, layer, weights, place: see `legible.recipes.stages.instruments.instrument_reader`.
        text, positions, chat: as for `Session.read`.

    Raises:
        UsageError: no such model, method, layer or position, or no chat template.
    """
    reader = instrument_reader(model, method, layer=layer, weights=weights, place=place)
    whole = chat_text(reader.instrument.target, [("user", text)], reply=True) if chat else text
    readings = reader.read(whole, positions=positions)
    return Readings(readings, [0] * len(readings), [whole], reader.about())
