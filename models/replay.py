"""Replays an event log through the functions that the stages call, and notes what each exposure saw.

An exposure sees all events before it, and the tweets of its own millisecond; engagements of that millisecond
come after it. So no model can be trained or judged on what it would not have known. Knows nothing of models.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.dataset import ENGAGED, EXPOSURE, READER, TWEET, UNKNOWN, USER, Dataset, DatasetWriter, finished
from models.events import HEADS, Engagement, Follow, Profile, Tweet, User
from models.features import pair_features, tweet_features
from models.histories import snapshots
from models.log import EventLog, Table
from models.progress import Phase, Progress, silent
from models.state.decay import ACTION_INDEX
from models.state.keys import id_key, short_key
from models.state.memory import memory_stores
from models.state.stores import AUTHOR_FIELDS, Pair
from models.state.transitions import apply_engagements, apply_follows, apply_profiles, one_shard
from models.state.tweet import MAX_MENTIONS, TweetRecord
from models.state.user import UserState
from models.state.vector import habits_of

#: Rows that are turned into columns at once.
_CHUNK: Final = 8_192
#: Why a tweet can't be read, or None.
Check = Callable[[Tweet], str | None]
_NO_VECTOR: Final = np.zeros(0, np.float16)


class _Exposure(NamedTuple):
    shown_at: int
    user_id: str
    tweet_id: str
    keep_rate: float
    labels: tuple[int, ...]


class _KnownUser(NamedTuple):
    row: int
    habits: NDArray[np.void]
    cold: bool


class _Shown(NamedTuple):
    exposure: _Exposure
    user: _KnownUser
    tweet: int
    bits: int
    affinity: NDArray[np.void]
    mentioned: bool
    retweeted: bool
    reciprocity: int


def _any(_tweet: Tweet) -> None:
    """Every tweet can be read."""


def replay(
    log: EventLog, exposures: Table, out: Path, progress: Progress = silent, check: Check = _any
) -> Dataset:
    """Write the dataset of `exposures` into folder `out`; its `info` says what was lost: `models.losses`.

    A tweet for which `check` has a reason never happened, as in the stream, where it is a dead letter.
    """
    total = exposures.rows + sum(table.rows for table in log.tables.values())
    phase = Phase(progress, "replay", total, "rows")
    with DatasetWriter(out) as writer, _without_collector():
        state = _Replay(writer, check)
        shown = _rows(exposures)
        waiting = next(shown, None)
        done = 0
        for at, event in log.events(wordless=True):
            # Engagements are the last of their millisecond: exposures come before them, after all else.
            limit = at + 1 if isinstance(event, Engagement) else at
            while waiting is not None and waiting.shown_at < limit:
                state.expose(waiting)
                waiting = next(shown, None)
                done += 1
            state.happen(event)
            done += 1
            if not done % 1024:
                phase.to(min(done, total))
        while waiting is not None:
            state.expose(waiting)
            waiting = next(shown, None)
            done += 1
            if not done % 1024:
                phase.to(min(done, total))
        state.flush()
        writer.finish(
            {
                "rows": {name: table.rows for name, table in (*log.tables.items(), ("exposures", exposures))},
                "skipped": dict(state.skipped + exposures.rejected),
                "rejected": _plain(log.rejected),
                "unmatched": state.unmatched,
            }
        )
    phase.to(total)
    return Dataset(out)


def replayed(
    log: EventLog, exposures: Table, out: Path, progress: Progress = silent, check: Check = _any
) -> Dataset:
    """The dataset of folder `out`, if a replay ever finished there, else `replay`'s."""
    return Dataset(out) if finished(out) else replay(log, exposures, out, progress, check)


class _Replay:
    """The world as it stands, and the rows that are not written yet."""

    def __init__(self, writer: DatasetWriter, check: Check) -> None:
        self._writer, self._check = writer, check
        self._stores = memory_stores()
        self._rows: dict[int, int] = {}
        #: Users as written, profiles, and who is in authors' histories how often: each until it changes.
        self._users: dict[str, _KnownUser] = {}
        self._profiles: dict[str, Profile | None] = {}
        self._readers: dict[str, dict[int, int]] = {}
        self._user_count = self._tweet_count = self._engaged_count = 0
        self._engagements: list[Engagement] = []
        self._engaged: set[str] = set()
        self._tweets: list[tuple[Tweet, Profile | None, NDArray[np.float64]]] = []
        self._new_users: list[NDArray[np.void]] = []
        self._shown: list[_Shown] = []
        self._last: tuple[int, set[tuple[str, str]]] = (-1, set())
        #: Keys of tweets that can't be read, and the reason, with that of the first.
        self._unreadable: set[int] = set()
        self._reason = ""
        self.skipped: Counter[str] = Counter()
        #: Engagements with no tweet before them.
        self.unmatched = 0

    def happen(self, event: User | Follow | Tweet | Engagement) -> None:
        match event:
            case Engagement():
                self._engage(event)
            case Tweet():
                self._publish(event)
            case Follow():
                apply_follows(self._stores, [event], one_shard)
            case User():
                apply_profiles(self._stores, [event])
                self._users.pop(event.user_id, None)
                self._profiles.pop(event.user_id, None)

    def _engage(self, event: Engagement) -> None:
        (record,) = self._stores.tweets.get_many([id_key(event.tweet_id)])
        self._engagements.append(event)
        self.unmatched += record is None
        if record is None or len(self._engagements) >= _CHUNK:
            self._apply()  # lest the tweet be there by the time the batch is applied; and for memory
        else:
            self._engaged.add(record.author_id)

    def _apply(self) -> None:
        if self._engagements:
            states, news = apply_engagements(self._stores, self._engagements, one_shard)
            for user_id in states:
                self._users.pop(user_id, None)
                self._readers.pop(user_id, None)
            self._remember(news)
            self._engagements, self._engaged = [], set()

    def _remember(self, news: Sequence[tuple[Engagement, TweetRecord]]) -> None:
        out = np.zeros(len(news), ENGAGED)
        for i, (event, _) in enumerate(news):
            action = ACTION_INDEX[event.action]
            row = self._rows[id_key(event.tweet_id)]
            out[i] = short_key(event.user_id), row, short_key(event.tweet_id), event.at // 1000, action
        self._writer.add("engaged", out)
        self._engaged_count += len(out)

    def _publish(self, tweet: Tweet) -> None:
        key = id_key(tweet.tweet_id)
        problem = self._check(tweet)
        if problem is not None:
            self._unreadable.add(key)
            self._reason = self._reason or f"the tweet can't be read (the first: {problem})"
            return
        if tweet.author_id in self._engaged:
            self._apply()  # what the author received before this tweet is among its features
        profile = tweet.author or self._profile(tweet.author_id)
        sums = self._stores.authors.get_many([tweet.author_id])[0]
        record = TweetRecord(
            tweet.author_id,
            tweet.created_at,
            tuple(tweet.mentions[:MAX_MENTIONS]),
            _NO_VECTOR,
            retweet=tweet.kind == "retweet",
        )
        if not self._stores.intake.put({key: record})[0]:
            return
        original = self._rows.get(id_key(tweet.original_id)) if tweet.original_id else None
        if tweet.kind == "retweet" and original is not None:
            self._rows[key] = original  # as in the stream, a retweet has its original's vector
            return
        self._rows[key] = self._tweet_count
        self._tweet_count += 1
        self._tweets.append((tweet, profile, sums))
        if len(self._tweets) >= _CHUNK:
            self._write_tweets()

    def _profile(self, user_id: str) -> Profile | None:
        if user_id not in self._profiles:
            (state,) = self._stores.users.get_many([user_id])
            self._profiles[user_id] = state.profile() if state else None
        return self._profiles[user_id]

    def expose(self, shown: _Exposure) -> None:
        self._apply()
        key = id_key(shown.tweet_id)
        (record,) = self._stores.tweets.get_many([key])
        if record is None:
            unknown = "the tweet is not in the log, or is younger than the exposure"
            self.skipped[self._reason if key in self._unreadable else unknown] += 1
            return
        if self._last[0] != shown.shown_at:
            self._last = (shown.shown_at, set())
        if (shown.user_id, shown.tweet_id) in self._last[1]:
            self.skipped["the same user, tweet and time once more"] += 1
            return
        self._last[1].add((shown.user_id, shown.tweet_id))
        pair = Pair(record.author_id, 0, shown.user_id)
        self._shown.append(
            _Shown(
                exposure=shown,
                user=self._user(shown.user_id),
                tweet=self._rows[key],
                bits=int(self._stores.audiences.bits([pair])[0]),
                affinity=self._stores.affinities.get_many([pair]),
                mentioned=shown.user_id in record.mentions,
                retweeted=record.retweet,
                reciprocity=self._reciprocity(record.author_id).get(short_key(shown.user_id), 0),
            )
        )
        if len(self._shown) >= _CHUNK:
            self._write_exposures()

    def _user(self, user_id: str) -> _KnownUser:
        user = self._users.get(user_id)
        if user is None:
            (state,) = self._stores.users.get_many([user_id])
            out = np.zeros(1, USER)
            out["snapshot"] = snapshots([state or UserState()])
            keys = out["snapshot"]["items"]["tweet"][0].tolist()
            count = int(out["snapshot"]["count"][0])
            out["rows"][0] = -1
            out["rows"][0, :count] = [self._rows.get(key, -1) for key in keys[:count]]
            out["reader"], out["engaged"] = short_key(user_id), self._engaged_count
            self._new_users.append(out)
            habits = habits_of(out["snapshot"]["stats"])
            user = self._users[user_id] = _KnownUser(self._user_count, habits, cold=state is None)
            self._user_count += 1
        return user

    def _reciprocity(self, author_id: str) -> dict[int, int]:
        counts = self._readers.get(author_id)
        if counts is None:
            (state,) = self._stores.users.get_many([author_id])
            counts = dict(Counter(state.items["author"].tolist())) if state else {}
            self._readers[author_id] = counts
        return counts

    def flush(self) -> None:
        """Write what is left."""
        self._apply()
        self._write_tweets()
        self._write_exposures()

    def _write_tweets(self) -> None:
        if not self._tweets:
            return
        tweets = [tweet for tweet, _, _ in self._tweets]
        out = np.zeros(len(tweets), TWEET)
        out["author"] = [short_key(tweet.author_id) for tweet in tweets]
        out["created_at"] = [tweet.created_at for tweet in tweets]
        sums = np.array([sums for _, _, sums in self._tweets]).reshape(-1, len(AUTHOR_FIELDS))
        out["features"] = tweet_features(tweets, [profile for _, profile, _ in self._tweets], sums)
        self._writer.add("tweets", out)
        self._writer.add_texts(
            [tweet.text for tweet in tweets],
            [tweet.text_tokens for tweet in tweets],
            [tweet.language for tweet in tweets],
        )
        self._tweets = []

    def _write_exposures(self) -> None:
        if self._new_users:
            self._writer.add("users", _together(self._new_users))
            self._new_users = []
        if not self._shown:
            return
        shown = [row.exposure for row in self._shown]
        out = np.zeros(len(shown), EXPOSURE)
        out["user"] = [row.user.row for row in self._shown]
        out["tweet"] = [row.tweet for row in self._shown]
        out["named"] = [short_key(exposure.tweet_id) for exposure in shown]
        out["shown_at"] = [exposure.shown_at for exposure in shown]
        out["keep_rate"] = [exposure.keep_rate for exposure in shown]
        out["labels"] = [exposure.labels for exposure in shown]
        out["cold"] = [row.user.cold for row in self._shown]
        out["features"] = pair_features(
            out["shown_at"] // 1000,
            np.array([row.bits for row in self._shown], np.uint8),
            _together([row.affinity for row in self._shown]),
            _together([row.user.habits for row in self._shown]),
            np.array([row.mentioned for row in self._shown], np.bool_),
            np.array([row.retweeted for row in self._shown], np.bool_),
            np.array([row.reciprocity for row in self._shown], np.float32),
        )
        self._writer.add("exposures", out)
        self._writer.add("readers", np.array([short_key(e.user_id) for e in shown], READER))
        self._shown = []


def _together(records: Sequence[NDArray[np.void]]) -> NDArray[np.void]:
    """Records of one type, some, end to end: `np.concatenate` looks at the type anew for each."""
    return np.frombuffer(b"".join(record.tobytes() for record in records), records[0].dtype)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Millions of live records, none in a cycle: walking them again and again took a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _rows(table: Table) -> Iterator[_Exposure]:
    for batch in table.batches():
        columns = batch.to_pydict()
        labels = [columns.get(head) or [None] * batch.num_rows for head in HEADS]
        rates = columns.get("keep_rate") or [None] * batch.num_rows
        for at, user, tweet, rate, *actions in zip(
            columns["shown_at"], columns["user_id"], columns["tweet_id"], rates, *labels, strict=True
        ):
            known = tuple(UNKNOWN if action is None else int(action) for action in actions)
            yield _Exposure(at, user, tweet, 1.0 if rate is None else rate, known)


def _plain(rejected: dict[str, Counter[str]]) -> dict[str, dict[str, int]]:
    return {table: dict(counts) for table, counts in rejected.items()}
