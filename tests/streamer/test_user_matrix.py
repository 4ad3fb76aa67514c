"""The cache of users: bounded, and never older than the last notice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.serving import ServingModel
from models.state.keys import short_key
from models.state.memory import MemoryUserVectors
from streamer.partitions import partition_of
from streamer.user_matrix import UserMatrix
from tests.models.tiny import tiny_bundle


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ServingModel:
    path = tmp_path_factory.mktemp("bundle")
    tiny_bundle(path)
    return ServingModel.load(Path(path), "cpu")


class Store(MemoryUserVectors):
    """Counts what is read, and says what a test wants it to say of changes."""

    def __init__(self, model: ServingModel) -> None:
        super().__init__()
        self._model = model
        self.read: list[str] = []
        self.notices: list[str] | None = []

    def get_many(self, user_ids):  # type: ignore[no-untyped-def]
        self.read += user_ids
        return super().get_many(user_ids)

    def put(self, user_id: str, value: float) -> None:
        record = self._model.cold.copy()
        record["vector"] = int(value) % 128
        record["habits"]["newest"] = int(value)
        self.put_many({user_id: record.tobytes()})

    def poll(self) -> list[str] | None:
        notices, self.notices = self.notices, []
        return notices


@pytest.fixture
def store(model: ServingModel) -> Store:
    return Store(model)


def matrix_of(model: ServingModel, store: Store, capacity: int = 8) -> UserMatrix:
    return UserMatrix(model, store, store, lambda user, cold: f"{user}{'?' if cold else ''}", 4, capacity)


def test_columns(model: ServingModel, store: Store) -> None:
    store.put("u", 3.0)
    matrix = matrix_of(model, store)
    slots = matrix.slots(["u", "nobody", "u"])
    assert slots[0] == slots[2] != slots[1]
    assert store.read == ["u", "nobody"]
    assert matrix.user_ids[slots].tolist() == ["u", "nobody", "u"]
    assert matrix.keys[slots].tolist() == [b"u", b"nobody", b"u"]
    assert matrix.parts[slots].tolist() == ["u", "nobody?", "u"]
    assert matrix.cold[slots].tolist() == [False, True, False]
    assert matrix.shards[slots].tolist() == [partition_of(u, 4) for u in (b"u", b"nobody", b"u")]
    assert matrix.rows.keys[slots].tolist() == [short_key(u) for u in ("u", "nobody", "u")]
    assert matrix.rows.habits["newest"][slots].tolist() == [3, 0, 3]
    matrix.slots(["nobody", "u"])
    assert store.read == ["u", "nobody"]  # the unknown are remembered too
    assert matrix.find(["u", "never seen"]).tolist() == [slots[0], -1]
    assert len(matrix.slots([])) == 0


def test_the_least_recently_used_go(model: ServingModel, store: Store) -> None:
    matrix = matrix_of(model, store)
    users = [f"u{i}" for i in range(8)]
    for user in users:
        matrix.slots([user])
    matrix.slots(["u0"])
    slots = matrix.slots(["new", "u2"])
    assert matrix.user_ids[slots].tolist() == ["new", "u2"]
    assert matrix.find(["u1"]).tolist() == [-1]
    assert (matrix.find(["u0", "u2"]) >= 0).all()
    assert len(matrix) <= 8


def test_any_sequence_gives_the_right_users(model: ServingModel, store: Store) -> None:
    matrix = matrix_of(model, store)
    draw = np.random.default_rng(0)
    values = {f"u{i}": float(i + 1) for i in range(30)}
    for user, value in values.items():
        store.put(user, value)
    for step in range(300):
        if step % 7 == 0:
            user = f"u{draw.integers(30)}"
            values[user] += 100
            store.put(user, values[user])
            store.notices = None if step % 3 == 0 else [user, "somebody else"]
        matrix.refresh()
        asked = [f"u{i}" for i in draw.integers(30, size=draw.integers(1, 9))]
        slots = matrix.slots(asked)
        assert matrix.user_ids[slots].tolist() == asked
        assert matrix.rows.habits["newest"][slots].tolist() == [int(values[user]) for user in asked]
        assert len(matrix) <= 8


def test_a_change_while_it_is_read_is_told_after(model: ServingModel, store: Store) -> None:
    """The read misses the change by a hair; the notice waits, and the next refresh acts on it."""
    store.put("u", 1.0)
    matrix = matrix_of(model, store)
    matrix.refresh()
    matrix.slots(["u"])
    store.put("u", 2.0)
    store.notices = ["u"]
    assert matrix.rows.habits["newest"][matrix.slots(["u"])].tolist() == [1]
    matrix.refresh()
    assert matrix.rows.habits["newest"][matrix.slots(["u"])].tolist() == [2]


def test_by_default_memory_is_bounded(model: ServingModel, store: Store) -> None:
    matrix = UserMatrix(model, store, store, lambda user, cold: user, 4)
    assert 32_768 <= len(matrix.cold) <= 400_000
