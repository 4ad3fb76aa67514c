"""The likeliest so far are the likeliest of all, whatever the pieces."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamer.best import Best
from streamer.predictions import ScoredTweet

TWEET = ScoredTweet("1", "a", 5)
# Users may come twice, as a store's scan may bring them.
_pieces = st.lists(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30))), max_size=8)


@given(_pieces, st.integers(1, 6))
def test_as_if_all_had_come_at_once(pieces: list[list[tuple[int, int]]], k: int) -> None:
    # Each user's own probability, all different.
    chance = np.random.default_rng(0).permutation(31) / 31
    best = Best(TWEET, k, 1)
    for piece in pieces:
        for shard in range(3):
            users = [user for place, user in piece if place == shard]
            values = np.stack([np.zeros(len(users)), chance[users]], 1).astype(np.float32)
            best.add(shard, np.array([f"u{u}" for u in users], object), np.array(users, int) % 2 == 0, values)
    found = {shard: (users.tolist(), cold, chances) for shard, users, cold, chances in best.shards()}
    for shard in range(3):
        everybody = {user for piece in pieces for place, user in piece if place == shard}
        wanted = sorted(everybody, key=lambda user: -chance[user])[:k]
        users, cold, chances = found.pop(shard, ([], np.zeros(0, bool), np.zeros((0, 2), np.float32)))
        assert users == [f"u{user}" for user in wanted]
        assert cold.tolist() == [user % 2 == 0 for user in wanted]
        assert chances[:, 1].tolist() == chance[wanted].astype(np.float32).tolist()
    assert not found


def test_memory_is_bounded() -> None:
    best = Best(TWEET, 5, 0)
    for start in range(0, 100_000, 2_000):
        users = np.array([f"u{i}" for i in range(start, start + 2_000)], object)
        best.add(0, users, np.zeros(2_000, np.bool_), np.full((2_000, 1), start / 100_000, np.float32))
        assert sum(map(len, best._rows.values())) <= 10
