"""Endings behind other beginnings: the same activations as the whole texts give, for every family."""

import pytest
import torch
from families import CONFIGS, tiny

from legible.documents import Document
from legible.engines.endings import ids_until, streams_behind
from legible.errors import UsageError
from legible.languages.base import Row

BEGINNINGS = [[0, 5, 6, 7, 8, 9, 10, 11], [0, 20], []]
ENDINGS = [[12, 13, 14], [30, 31, 5], [40, 41, 42]]
PAIRS = [(1, 0), (0, 0), (0, 2), (2, 1), (1, 1), (0, 0)]


@pytest.mark.parametrize("family", CONFIGS)
def test_an_ending_behind_a_beginning_is_the_whole_text(family):
    target = tiny(family)
    for layer in range(target.n_layers):
        found = streams_behind(target, layer, BEGINNINGS, ENDINGS, PAIRS)
        for row, (first, last) in zip(found, PAIRS, strict=True):
            ids = torch.tensor([[*BEGINNINGS[first], *ENDINGS[last]]])
            whole = target.streams(ids, torch.ones_like(ids), (layer,))[layer][0, -1]
            assert torch.allclose(row, whole, rtol=1e-4, atol=1e-4)


def test_a_text_longer_than_the_context_is_refused():
    target = tiny("llama")
    with pytest.raises(UsageError, match="66 tokens are more than the context"):
        streams_behind(target, 1, [[5] * 63], [[1, 2, 3]], [(0, 0)])


def test_a_row_of_another_tokenizer_is_refused():
    target, text = tiny("llama"), "w1 w2 w3"
    row = Row(Document("d", text), 2, 5, 0, target.encode(text).ids[2], 5)
    assert ids_until(target, row) == target.encode(text).ids[:3]
    with pytest.raises(UsageError, match="token 3 of document 'd' was read at token id"):
        ids_until(target, Row(row.document, 3, 8, 0, row.token_id, 5))
