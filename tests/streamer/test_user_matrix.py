"""The cache of users: bounded, and never older than the last notice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.serving import ServingModel
from models.state.keys import short_key
from models.state.memory import MemoryUserVectors
from streamer import user_matrix
from streamer.partitions import partition_of
from streamer.user_matrix import UserMatrix
from tests.models.tiny import tiny_bundle


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ServingModel:
    path = tmp_path_factory.mktemp("bundle")
    tiny_bundle(path)
    return ServingModel.load(Path(path), "cpu")


class Store(MemoryUserVectors):
    """Remembers what is read."""

    def __init__(self, model: ServingModel) -> None:
        super().__init__()
        self._model = model
        self.read: list[str] = []

    def get_many(self, user_ids):  # type: ignore[no-untyped-def]
        self.read += user_ids
        return super().get_many(user_ids)

    def put(self, user_id: str, value: float) -> None:
        record = self._model.cold.copy()
        record["vector"] = int(value) % 128
        record["habits"]["newest"] = int(value)
        self.put_many({user_id: record.tobytes()})


@pytest.fixture
def store(model: ServingModel) -> Store:
    return Store(model)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for eight users."""
    monkeypatch.setattr(user_matrix, "MOST_USERS", 4)


class Matrix(UserMatrix):
    """Every call a round of its own."""

    def round(self, user_ids: list[str]) -> Any:
        self.begin()
        return self.slots(user_ids)


def matrix_of(model: ServingModel, store: Store) -> Matrix:
    return Matrix(model, store, lambda user, cold: f"{user}{'?' if cold else ''}".encode(), 4, memory=0)


def test_columns(model: ServingModel, store: Store) -> None:
    store.put("u", 3.0)
    matrix = matrix_of(model, store)
    slots = matrix.round(["u", "nobody", "u"])
    assert slots[0] == slots[2] != slots[1]
    assert store.read == ["u", "nobody"]
    assert matrix.user_ids[slots].tolist() == ["u", "nobody", "u"]
    assert matrix.keys.at(slots) == [b"u", b"nobody", b"u"]
    assert matrix.parts.at(slots) == [b"u", b"nobody?", b"u"]
    assert matrix.cold[slots].tolist() == [False, True, False]
    assert matrix.shards[slots].tolist() == [partition_of(u, 4) for u in (b"u", b"nobody", b"u")]
    assert matrix.rows.keys[slots].tolist() == [short_key(u) for u in ("u", "nobody", "u")]
    assert matrix.rows.habits["newest"][slots].tolist() == [3, 0, 3]
    matrix.round(["nobody", "u"])
    assert store.read == ["u", "nobody"]  # the unknown are remembered too
    assert matrix.find(["u", "never seen"]).tolist() == [slots[0], -1]
    assert len(matrix.round([])) == 0


def test_the_least_recently_used_go(model: ServingModel, store: Store) -> None:
    matrix = matrix_of(model, store)
    users = [f"u{i}" for i in range(8)]
    for user in users:
        matrix.round([user])
    matrix.round(["u0"])
    assert matrix.epoch == 0
    slots = matrix.round(["new", "u2"])
    assert matrix.epoch == 1
    assert matrix.user_ids[slots].tolist() == ["new", "u2"]
    assert matrix.find(["u1"]).tolist() == [-1]
    assert (matrix.find(["u0", "u2"]) >= 0).all()
    assert len(matrix) <= 8


def test_slots_of_a_round_stay_until_its_end(model: ServingModel, store: Store) -> None:
    matrix = matrix_of(model, store)
    kept = matrix.round([f"u{i}" for i in range(4)])
    matrix.round(["a", "b", "c", "d"])
    matrix.begin()
    first = matrix.slots(["e"], known=kept[:3])
    matrix.slots(["f", "g", "h", "i"])
    assert matrix.user_ids[[*kept[:3], *first]].tolist() == ["u0", "u1", "u2", "e"]


def test_any_sequence_gives_the_right_users(model: ServingModel, store: Store) -> None:
    """Whether asked by name or by a slot that is remembered from the same epoch."""
    matrix = matrix_of(model, store)
    draw = np.random.default_rng(0)
    values = {f"u{i}": float(i + 1) for i in range(30)}
    for user, value in values.items():
        store.put(user, value)
    remembered, epoch = matrix.round([]), matrix.epoch
    for step in range(300):
        if step % 7 == 0:
            user = f"u{draw.integers(30)}"
            values[user] += 100
            store.put(user, values[user])
            matrix.refresh(None if step % 3 == 0 else [user, "somebody else"])
        asked = [f"u{i}" for i in draw.integers(30, size=draw.integers(1, 5))]
        known = remembered if epoch == matrix.epoch else remembered[:0]
        users = matrix.user_ids[known].tolist() + asked
        matrix.begin()
        slots = np.concatenate([known, matrix.slots(asked, known)])
        assert matrix.user_ids[slots].tolist() == users
        assert matrix.keys.at(slots) == [user.encode() for user in users]
        assert matrix.rows.habits["newest"][slots].tolist() == [int(values[user]) for user in users]
        assert len(matrix) <= 8
        remembered, epoch = slots[:3], matrix.epoch


def test_who_became_known_is_no_longer_cold(model: ServingModel, store: Store) -> None:
    matrix = matrix_of(model, store)
    (slot,) = matrix.round(["u"])
    store.put("u", 1.0)
    assert matrix.round(["u"]).tolist() == [slot]
    assert matrix.cold[slot]  # a change that nobody told
    matrix.refresh(["u"])
    assert matrix.round(["u"]).tolist() == [slot]
    assert not matrix.cold[slot]
    assert matrix.parts.at(np.array([slot])) == [b"u"]
    assert store.read == ["u", "u"]


def test_memory_is_bounded(model: ServingModel, store: Store) -> None:
    matrix = UserMatrix(model, store, lambda user, cold: b"", 4, memory=10 * 2**20)
    assert 5_000 < len(matrix.cold) < 20_000
