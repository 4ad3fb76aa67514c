from __future__ import annotations

import pytest
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from streamer.ledger import Delivery, Ledger, age_s
from tests.streamer.raw import Raw

A, B = TP("tweets", 0), TP("tweets", 1)


def delivery(*offsets: int) -> Delivery:
    return Delivery("tweets", 0, [Raw(offset) for offset in offsets])


def test_a_delivery_with_gaps_ends_after_its_last_record() -> None:
    # Offsets 3, 5 and 6 were compacted away or are markers of transactions.
    assert (delivery(2, 4, 7).first, delivery(2, 4, 7).next_offset) == (2, 8)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=20), st.data())
def test_never_commits_past_unfinished_work(sizes: list[int], data: st.DataObject) -> None:
    """In whatever order deliveries finish, and however often a commit happens in between."""
    ledger, deliveries, offset = Ledger(), [], 100
    for size in sizes:
        deliveries.append(delivery(*range(offset, offset + size)))
        ledger.add(A, deliveries[-1])
        offset += size
    committed = 100
    for finished in data.draw(st.permutations(deliveries)):
        finished.finish()
        if data.draw(st.booleans()):
            committed = ledger.committable(A) or committed
            unfinished = [other.first for other in deliveries if not other.done]
            assert committed <= min(unfinished, default=offset)
    assert (ledger.committable(A) or committed) == offset


def test_partitions_are_apart() -> None:
    ledger, first, second = Ledger(), delivery(1), delivery(7)
    ledger.add(A, first)
    ledger.add(B, second)
    second.finish()
    assert (ledger.committable(A), ledger.committable(B)) == (None, 8)
    assert (ledger.oldest(A), ledger.oldest(B)) == (first, None)


def test_what_finishes_after_a_rebalance_commits_nothing() -> None:
    ledger, before = Ledger(), delivery(1, 2, 3)
    ledger.add(A, before)
    ledger.clear()
    again = delivery(1, 2)
    ledger.add(A, again)
    before.finish()
    assert ledger.committable(A) is None
    again.finish()
    assert ledger.committable(A) == 3


def test_the_age_is_that_of_the_first_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 100.0)
    assert age_s(Delivery("tweets", 0, [Raw(1, 98_500), Raw(2, 99_000)])) == 1.5
    assert age_s(Delivery("tweets", 0, [Raw(1, 100_500)])) == 0.0  # a clock that is ahead
    assert age_s(Delivery("tweets", 0, [Raw(1, -1)])) == age_s(None) == 0.0


def test_what_is_done_lets_go_of_its_records() -> None:
    """However much is read behind a delivery that takes long."""
    ledger, slow, quick = Ledger(), delivery(1), delivery(2, 3)
    ledger.add(A, slow)
    ledger.add(A, quick)
    quick.finish()
    assert (ledger.committable(A), len(quick.records), ledger.underway()) == (None, 0, 1)
    slow.finish()
    assert ledger.committable(A) == 4
