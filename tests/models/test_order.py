from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import order as module
from models.order import Order, batch_of


def dataset(states: list[int]) -> Any:
    """As much of a dataset as counts: which user state each exposure saw."""
    exposures = np.zeros(len(states), [("user", "<u4")])
    exposures["user"] = states
    return SimpleNamespace(exposures=exposures, users=np.zeros(max(states) + 1))


@given(
    states=st.lists(st.integers(0, 20), min_size=1, max_size=200),
    batch=st.integers(1, 50),
    cut=st.data(),
)
def test_each_epoch_has_every_row_once_with_states_together(
    tmp_path_factory: pytest.TempPathFactory, states: list[int], batch: int, cut: st.DataObject
) -> None:
    start = cut.draw(st.integers(0, len(states) - 1))
    rows = slice(start, cut.draw(st.integers(start + 1, len(states))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CHUNK", 7)
        order = Order(dataset(states), rows, batch, 0, tmp_path_factory.mktemp("order") / "rows")
    batches = list(order.batches(1))
    assert len(batches) == order.steps
    assert np.cumsum([0, *map(len, batches)]).tolist() == order.bounds
    assert max(map(len, batches)) <= batch
    assert max(map(len, batches)) - min(map(len, batches)) <= 1
    seen = np.concatenate(batches)
    assert sorted(seen.tolist()) == list(range(rows.start, rows.stop))
    runs = np.array(states)[seen]
    assert 1 + int((runs[1:] != runs[:-1]).sum()) == len(set(runs.tolist()))
    later = cut.draw(st.integers(0, order.steps))
    rest = list(order.batches(1, later))
    assert [b.tolist() for b in rest] == [b.tolist() for b in batches[later:]]


def test_epochs_and_seeds_have_orders_of_their_own(tmp_path: Path) -> None:
    states = dataset(list(range(100)))

    def rows(seed: int, epoch: int) -> list[int]:
        order = Order(states, slice(0, 100), 32, seed, tmp_path / f"{seed}")
        return np.concatenate(list(order.batches(epoch))).tolist()  # type: ignore[no-any-return]

    assert rows(0, 1) == rows(0, 1)
    assert rows(0, 1) != rows(0, 2)
    assert rows(0, 1) != rows(1, 1)


@pytest.mark.parametrize(
    ("exposures", "batch"), [(0, 16), (2_700, 16), (18_000, 100), (184_319, 1_023), (10**9, 1_024)]
)
def test_small_logs_have_small_batches(exposures: int, batch: int) -> None:
    assert batch_of(exposures) == batch
