"""A fault in a configuration is told once, at its place, in the field's own names."""

import pytest

from legible.config import RunConfig, TruthConfig
from legible.config.base import validated
from legible.errors import ConfigError


def test_a_value_of_several_types_is_told_once_without_the_names_of_the_types() -> None:
    with pytest.raises(ConfigError) as raised:
        validated(TruthConfig, {"documents": "sentence"})
    first = str(raised.value).splitlines()[0]
    assert first.startswith("the configuration does not fit: documents = 'sentence': ")
    assert "constrained-int" not in first
    assert "literal" not in first
    assert first.count("'sentence'") == 1
    assert first.endswith(", or Input should be 'stories' or 'sentences'.")


def test_the_place_of_an_unknown_key_is_whole() -> None:
    with pytest.raises(ConfigError, match=r"rl\.stepz = 3: Extra inputs"):
        validated(RunConfig, {"rl": {"stepz": 3}})
