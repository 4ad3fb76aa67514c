from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.client.replayed import Replayed

offsets = st.sets(st.integers(0, 200))


@given(st.lists(offsets, max_size=5), st.integers(0, 50))
def test_knows_what_was_added_after_any_number_of_round_trips(chunks: list[set[int]], start: int) -> None:
    state = Replayed()
    for chunk in chunks:
        state = state.add(chunk, start)
        state = Replayed.read(state.position, state.metadata)
    added = set().union(*chunks)
    assert {o for o in range(start, 220) if o in state} == {o for o in added if o >= start}


def test_what_is_done_without_gaps_needs_no_metadata() -> None:
    assert Replayed().add(range(10, 500), start=10) == Replayed(500)
    assert Replayed().add(range(10, 500), start=10).metadata == ""


def test_ranges_are_short() -> None:
    state = Replayed(3, {5, 6, 7, 9})
    assert state.metadata == "+5-7,9"


def test_metadata_of_somebody_else_is_refused() -> None:
    with pytest.raises(ValueError, match="not the metadata of a replay"):
        Replayed.read(3, "hello")
