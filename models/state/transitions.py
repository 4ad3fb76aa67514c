"""How events change the stores: called by the `follows` and `users` stages online and by the replay offline.

Knows nothing of Kafka or of models. Every function takes a batch, loads what it needs in a few round trips,
applies the events in order, and writes each changed record once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.events import Engagement, Follow, User
from models.state import affinity, taste
from models.state.authors import increment
from models.state.decay import ACTION_INDEX
from models.state.keys import id_key, short_key
from models.state.stores import FOLLOWED_BACK, FOLLOWS, Pair, Stores
from models.state.tweet import TweetRecord
from models.state.user import UserState

#: Which shard of an author's audience a user belongs to.
ShardOf = Callable[[str], int]


#: Vectors [n, w] of tweets' terms [n, TERMS], by the model whose tastes are kept.
TastesOf = Callable[[NDArray[np.uint16]], NDArray[np.float32]]


class Applied(NamedTuple):
    """All the users' states, by user id, and the engagements that were news, with tweets that are known."""

    states: dict[str, UserState]
    news: list[tuple[Engagement, TweetRecord]]


def one_shard(_user_id: str) -> int:
    """Everybody in shard 0: for a process that holds the whole world."""
    return 0


def apply_follows(stores: Stores, follows: Sequence[Follow], shard_of: ShardOf) -> None:
    """Follow edges, seen from both ends: the author's audience, and the follower's for "follows back".

    Each bit has one writer, so batches of different partitions commute. Idempotent.
    """

    def changes() -> Iterable[tuple[Pair, int, bool]]:
        for f in follows:
            on = f.action == "follow"
            yield Pair(f.author_id, shard_of(f.follower_id), f.follower_id), FOLLOWS, on
            yield Pair(f.follower_id, shard_of(f.author_id), f.author_id), FOLLOWED_BACK, on

    stores.audiences.change(changes())


def apply_profiles(stores: Stores, users: Sequence[User]) -> dict[str, UserState]:
    """Profiles into user states; returns the states changed, by user id, as they were stored. Idempotent."""
    latest = {user.user_id: user for user in users}
    states = _load(stores, latest)
    for user_id, user in latest.items():
        states[user_id].set_profile(user)
    stores.users.put_many(states)
    return states


def clear_profiles(stores: Stores, user_ids: Iterable[str]) -> dict[str, UserState]:
    """Forget profiles, not behaviour; returns the states, by user id, as they were stored. Idempotent."""
    states = _load(stores, dict.fromkeys(user_ids))
    for state in states.values():
        state.clear_profile()
    stores.users.put_many(states)
    return states


def apply_engagements(stores: Stores, engagements: Sequence[Engagement], shard_of: ShardOf) -> Applied:
    """Engagements into histories, affinities and author counts.

    Returns also the states that did not change: whoever applied a batch first may have died before
    computing the users' vectors. Affinities are written before histories: a batch that is delivered again
    after a crash in between is recognised by the affinity's own fingerprints, and one delivered again after
    it by the history. An engagement with a tweet that was never seen enters the history without an author.
    """
    keys = {e.tweet_id: id_key(e.tweet_id) for e in engagements}
    records = dict(zip(keys, stores.tweets.get_many(list(keys.values())), strict=True))
    states = _load(stores, dict.fromkeys(e.user_id for e in engagements))
    pairs = {
        (e.user_id, record.author_id): Pair(record.author_id, shard_of(e.user_id), e.user_id)
        for e in engagements
        if (record := records[e.tweet_id])
    }
    known = stores.affinities.get_many(list(pairs.values()))
    affinities = {pair: known[i : i + 1] for i, pair in enumerate(pairs.values())}
    received: list[tuple[str, str, float]] = []
    news: list[tuple[Engagement, TweetRecord]] = []
    changed: dict[str, UserState] = {}
    for e in engagements:
        at, record = e.at // 1000, records[e.tweet_id]
        author = short_key(record.author_id) if record else 0
        if not states[e.user_id].engage(keys[e.tweet_id], author, e.action, at):
            continue
        changed[e.user_id] = states[e.user_id]
        if record:
            news.append((e, record))
            pair = pairs[e.user_id, record.author_id]
            mark = hash((keys[e.tweet_id], ACTION_INDEX[e.action]))
            if affinity.engaged(affinities[pair], e.action, at, mark):
                received.append((record.author_id, e.action, increment(at)))
    stores.affinities.put_many(affinities)
    stores.authors.add(received)
    stores.tweets.keep([keys[e.tweet_id] for e in engagements if e.action != "impression"])
    stores.users.put_many(changed)
    return Applied(states, news)


def apply_tastes(
    stores: Stores, news: Sequence[tuple[Engagement, TweetRecord]], width: int, tastes_of: TastesOf
) -> None:
    """What `apply_engagements` found to be news, into the users' tastes of `width` numbers.

    Not idempotent, and done after histories are written: whoever dies in between loses a batch among the
    hundreds of engagements that a taste is made of.
    """
    if not news or not width:
        return
    users = list(dict.fromkeys(e.user_id for e, _ in news))
    known = taste.decode(stores.tastes.get_many(users), width).copy()
    rows = {user_id: known[i : i + 1] for i, user_id in enumerate(users)}
    vectors = tastes_of(np.stack([record.terms for _, record in news]))
    for (e, _), vector in zip(news, vectors, strict=True):
        taste.remember(rows[e.user_id], vector, e.action, e.at // 1000)
    stores.tastes.put_many({user_id: row.tobytes() for user_id, row in rows.items()})


def _load(stores: Stores, user_ids: Iterable[str]) -> dict[str, UserState]:
    ids = list(user_ids)
    return {
        user_id: state or UserState() for user_id, state in zip(ids, stores.users.get_many(ids), strict=True)
    }
