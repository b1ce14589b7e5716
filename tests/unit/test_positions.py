import pytest
from hypothesis import given
from hypothesis import strategies as st

from legible.errors import UsageError
from legible.reading.positions import parse_positions


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("all", [0, 1, 2, 3, 4]),
        ("-1", [4]),
        ("0", [0]),
        ("1:3", [1, 2]),
        ("3,1,3", [1, 3]),
        ("-2:", [3, 4]),
        (":2, -1", [0, 1, 4]),
        ("::2", [0, 2, 4]),
    ],
)
def test_a_spec_names_ascending_positions_once(spec, expected):
    assert parse_positions(spec, 5) == expected


@pytest.mark.parametrize("spec", ["5", "-6", "0:9", "2,7"])
def test_a_position_that_is_not_there_is_refused_with_the_length(spec):
    with pytest.raises(UsageError, match=r"out of range: the text has 5 tokens"):
        parse_positions(spec, 5)


@pytest.mark.parametrize("spec", ["", "x", "1:2:0", "1-3", "1;2", "::-1"])
def test_what_is_no_spec_is_refused(spec):
    with pytest.raises(UsageError, match="are not understood"):
        parse_positions(spec, 5)


def test_an_empty_slice_is_refused():
    with pytest.raises(UsageError, match="names no token"):
        parse_positions("3:3", 5)


@given(n=st.integers(1, 40), data=st.data())
def test_slices_agree_with_python(n, data):
    start = data.draw(st.none() | st.integers(-n, n))
    stop = data.draw(st.none() | st.integers(-n, n))
    expected = list(range(n))[start:stop]
    spec = f"{'' if start is None else start}:{'' if stop is None else stop}"
    if expected:
        assert parse_positions(spec, n) == expected
    else:
        with pytest.raises(UsageError):
            parse_positions(spec, n)
