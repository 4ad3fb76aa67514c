from __future__ import annotations

import numpy as np
import pytest

from benchmarks.workload import Workload, audience_sizes, user_states
from models.state.memory import memory_stores
from models.state.stores import FOLLOWS


@pytest.fixture(scope="module")
def workload() -> Workload:
    return Workload.fanout(users=400, authors=40, mean=20)


def test_audiences_are_heavy_tailed() -> None:
    sizes = audience_sizes(1_000, 200, 10_000)
    assert sizes.mean() == pytest.approx(200, rel=0.01)
    assert np.median(sizes) < 110
    assert sizes.max() > 4_000
    assert sizes.min() >= 1


def test_audiences_are_cut_off_at_the_number_of_users() -> None:
    sizes = audience_sizes(1_000, 200, 600)
    assert sizes.max() <= 600
    assert sizes.mean() == pytest.approx(200, rel=0.01)


def test_nobody_follows_himself_or_anyone_twice(workload: Workload) -> None:
    assert len(set(workload.users)) == 400
    for author, audience in zip(workload.authors, workload.audiences, strict=True):
        assert author not in audience
        assert len(set(audience.tolist())) == len(audience)
        assert audience.max() < 400


def test_as_many_readers_as_were_asked_for(workload: Workload) -> None:
    assert workload.readers(range(80)) == 2 * sum(map(len, workload.audiences))
    assert workload.readers(range(80)) / 80 == pytest.approx(20, rel=0.05)
    requests = list(workload.requests(range(5)))
    assert [len(r.user_ids or ()) for r in requests] == [workload.readers([n]) for n in range(5)]
    assert [r.tweet_ids for r in requests] == [[t.tweet_id] for t in workload.tweets(range(5))]


def test_the_seed_decides(workload: Workload) -> None:
    again = Workload.fanout(users=400, authors=40, mean=20)
    assert list(again.tweets(range(50))) == list(workload.tweets(range(50)))
    assert list(again.requests(range(5))) == list(workload.requests(range(5)))


def test_the_state_is_that_of_the_workload(workload: Workload) -> None:
    stores = memory_stores()
    states = user_states(3, list(workload.tweets(range(64))))
    workload.fill(stores, 2, states, [b"1", b"2"])
    assert stores.vectors.get_many(workload.users) == [b"1", b"2"] * 200
    author, audience = workload.author_id(7), workload.audiences[7]
    (low, low_bits), (high, _) = stores.audiences.get([(author, 0), (author, 1)])
    assert sorted([*low, *high]) == sorted(workload.users[i] for i in audience.tolist())
    assert ((low_bits & FOLLOWS) != 0).all()
    (state,) = stores.users.get_many([author])
    assert state is not None
    assert len(state.items) == 32
