"""Event logs: what is read back is what was written, in time order; what is wrong is said or counted."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.events import Engagement, Follow, Profile, Tweet, User
from models.log import Event, EventLog, Format, LogError, LogWriter, open_exposures

ids = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
# What lies between would be taken for seconds.
times = st.integers(0, 999_999_999) | st.integers(4_100_000_001, 4_102_444_800_000)
words = st.text(st.characters(codec="utf-8"), max_size=20)
profiles = st.builds(
    Profile,
    followers=st.integers(0, 2**40),
    following=st.integers(0, 2**40),
    verified=st.booleans(),
    created_at=times,
    description=words,
    interests=st.lists(words, max_size=3),
)
tweets = st.builds(
    lambda content, **rest: Tweet(**content, **rest),
    st.one_of(
        words.filter(lambda text: bool(text.strip())).map(lambda text: {"text": text}),
        st.builds(
            lambda ids: {"text_tokens": ids}, st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=5)
        ),
    ),
    tweet_id=ids,
    author_id=ids,
    created_at=times,
    language=st.none() | words,
    kind=st.sampled_from(["original", "reply", "quote", "retweet"]),
    original_id=st.none() | ids,
    mentions=st.lists(ids, max_size=3),
    hashtags=st.lists(words, max_size=3),
    links=st.lists(words, max_size=2),
    media=st.lists(words, max_size=2),
    author=st.none() | profiles,
    audience=st.none() | st.lists(ids, max_size=3),
)
engagements = st.builds(
    Engagement,
    user_id=ids,
    tweet_id=ids,
    action=st.sampled_from(["retweet", "quote", "reply", "like", "hide", "impression"]),
    at=times,
)
follows = st.builds(
    Follow, follower_id=ids, author_id=ids, action=st.sampled_from(["follow", "unfollow"]), at=times
)
users = st.builds(lambda profile, i: User(user_id=i, **msgspec.structs.asdict(profile)), profiles, ids)


def write(path: Path, rows: list[Any], file_format: Format = "parquet") -> EventLog:
    with LogWriter(path, file_format) as log:
        for row in rows:
            log.write(row)
    return EventLog(path)


def tweet(i: str, at: int, **rest: Any) -> Tweet:
    return Tweet(tweet_id=i, author_id="a", created_at=at, text="hello", **rest)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(tweets, min_size=1, max_size=6),
    st.lists(engagements, max_size=6),
    st.lists(follows, max_size=6),
    st.lists(users, max_size=4),
    st.sampled_from(["parquet", "jsonl"]),
)
def test_reads_back_what_was_written_in_time_order(
    tmp_path_factory: pytest.TempPathFactory,
    written_tweets: list[Tweet],
    written_engagements: list[Engagement],
    written_follows: list[Follow],
    written_users: list[User],
    file_format: Format,
) -> None:
    rows: list[Event] = [*written_users, *written_follows, *written_tweets, *written_engagements]
    log = write(tmp_path_factory.mktemp("log"), rows, file_format)

    expected = heapq.merge(
        ((0, 0, user) for user in written_users),
        sorted(((f.at, 1, f) for f in written_follows), key=lambda row: row[0]),
        sorted(((t.created_at, 2, t) for t in written_tweets), key=lambda row: row[0]),
        sorted(((e.at, 3, e) for e in written_engagements), key=lambda row: row[0]),
        key=lambda row: row[:2],
    )
    assert list(log.events()) == [(at, event) for at, _, event in expected]
    assert log.rejected == {}


@pytest.mark.parametrize("file_format", ["parquet", "jsonl"])
def test_same_millisecond_has_a_fixed_order(tmp_path: Path, file_format: Format) -> None:
    like = Engagement(user_id="u", tweet_id="t", action="like", at=5)
    follow = Follow(follower_id="u", author_id="a", action="follow", at=5)
    old = Follow(follower_id="v", author_id="a", action="follow", at=0)
    user = User(user_id="u")
    log = write(tmp_path, [like, tweet("t", 5), follow, old, user], file_format)
    # `old` and `follow` were written out of order on purpose.
    assert [event for _, event in log.events()] == [user, old, follow, tweet("t", 5), like]


@pytest.mark.parametrize("file_format", ["parquet", "jsonl"])
def test_a_range_of_time_includes_its_start_and_not_its_end(tmp_path: Path, file_format: Format) -> None:
    log = write(tmp_path, [tweet(str(i), i) for i in range(10)], file_format)
    assert [at for at, _ in log.events(3, 6)] == [3, 4, 5]
    assert [at for at, _ in log.events(start_ms=8)] == [8, 9]
    assert [at for at, _ in log.events(end_ms=2)] == [0, 1]
    assert sum(batch.num_rows for batch in log.tables["tweets"].batches(3, 6)) == 3


def test_row_groups_outside_the_range_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with LogWriter(tmp_path) as out:
        for i in range(4):
            rows = [{"tweet_id": f"{i}", "author_id": "a", "created_at": i * 100, "text": "x"}]
            out.write_batch("tweets", pa.RecordBatch.from_pylist(rows))
    read: list[list[int]] = []
    original = pq.ParquetFile.iter_batches

    def spy(self: Any, *args: Any, **kwargs: Any) -> Any:
        if "row_groups" in kwargs:
            read.append(kwargs["row_groups"])
        return original(self, *args, **kwargs)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", spy)
    assert [at for at, _ in EventLog(tmp_path).events(100, 300)] == [100, 200]
    assert read[-1] == [1, 2]


def test_profiles_with_a_time_come_at_that_time(tmp_path: Path) -> None:
    rows = pa.RecordBatch.from_pylist(
        [
            {"user_id": "late", "followers": 3, "updated_at": 7},
            {"user_id": "early", "followers": 1, "updated_at": None},
        ]
    )
    with LogWriter(tmp_path) as out:
        out.write(tweet("t", 5))
        out.write_batch("users", rows)
    found = list(EventLog(tmp_path).events())
    assert [at for at, _ in found] == [0, 5, 7]
    assert found[2][1] == User(user_id="late", followers=3)


def test_other_writers_types_and_columns_are_understood(tmp_path: Path) -> None:
    """Integer ids, large strings, dictionaries, timestamps, nulls for defaults, unknown columns."""
    pq.write_table(
        pa.table(
            {
                "tweet_id": pa.array([12], pa.int64()),
                "author_id": pa.array(["a"], pa.large_string()),
                "created_at": pa.array([5_000_000], pa.timestamp("us", tz="UTC")),
                "text": pa.array(["hi"], pa.large_string()),
                "kind": pa.array(["reply"]).dictionary_encode(),
                "mentions": pa.array([None], pa.list_(pa.string())),
                "author": pa.array([{"followers": 3, "following": None}]),
                "mood": ["odd"],
            }
        ),
        tmp_path / "tweets.parquet",
    )
    [(at, event)] = EventLog(tmp_path).events()
    assert at == 5_000
    assert event == Tweet(
        tweet_id="12", author_id="a", created_at=5_000, text="hi", kind="reply", author=Profile(followers=3)
    )


def test_invalid_parquet_rows_are_counted_by_reason(tmp_path: Path) -> None:
    rows = [
        {"tweet_id": "good", "author_id": "a", "created_at": 1, "text": "x", "kind": None},
        {"tweet_id": None, "author_id": "a", "created_at": 2, "text": "x", "kind": None},
        {"tweet_id": "blank", "author_id": "a", "created_at": 3, "text": " ", "kind": None},
        {"tweet_id": "kind", "author_id": "a", "created_at": 4, "text": "x", "kind": "shout"},
        {"tweet_id": "time", "author_id": "a", "created_at": -4, "text": "x", "kind": None},
        {"tweet_id": "never", "author_id": "a", "created_at": None, "text": "x", "kind": None},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "tweets.parquet")
    log = EventLog(tmp_path)
    for _ in range(2):  # a second pass counts anew
        assert [event.tweet_id for _, event in log.events() if isinstance(event, Tweet)] == ["good"]
        reasons = log.rejected["tweets"]
        assert sum(reasons.values()) == 5
        assert reasons["`tweet_id` is missing, blank or longer than 128 characters"] == 1
        assert reasons["`created_at` is missing or not in milliseconds from 1970 to 2100"] == 2
        assert any("the text is empty" in reason for reason in reasons)
        assert any("'shout'" in reason for reason in reasons)


def test_invalid_lines_are_counted_by_reason(tmp_path: Path) -> None:
    good = msgspec.json.encode(tweet("t", 1))
    lines = [good, b"", b"\xff\xfe", b"[1]", b'{"tweet_id": "x"}', b'{"created_at": 1e400}', good[:-3]]
    (tmp_path / "tweets.jsonl").write_bytes(b"\n".join(lines))
    log = EventLog(tmp_path)
    assert [event for _, event in log.events()] == [tweet("t", 1)]
    assert sum(log.rejected["tweets"].values()) == 5
    assert log.tables["tweets"].rows == 6


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "has no tweets.parquet or tweets.jsonl"),
        ({"tweets.parquet": b"PAR0"}, "is not a readable Parquet file"),
        ({"tweets.jsonl": b""}, "is empty: it has no rows"),
        (
            {"tweets.jsonl": b"{}\n"},
            "lacks the columns tweet_id, author_id, created_at, text (or text_tokens)",
        ),
        ({"tweets.jsonl": b"not json\n"}, "lacks the columns"),
        (
            {"tweets.jsonl": b'{"tweet_id":"1","author_id":"2","created_at":3}\n'},
            "lacks the column text (or text_tokens)",
        ),
        ({"tweets.jsonl": b"{}", "tweets.parquet": b""}, "has both tweets.jsonl and tweets.parquet"),
    ],
)
def test_a_log_that_is_none_says_so_in_one_line(
    tmp_path: Path, files: dict[str, bytes], message: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(LogError) as error:
        EventLog(tmp_path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_folder_or_required_table_says_so(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="is not a folder"):
        EventLog(tmp_path / "nowhere")
    write(tmp_path, [tweet("t", 1)])
    with pytest.raises(LogError, match="has no engagements"):
        EventLog(tmp_path, require=("tweets", "engagements"))


def test_a_column_of_the_wrong_type_names_itself(tmp_path: Path) -> None:
    columns = {"tweet_id": ["1"], "author_id": ["2"], "created_at": ["yesterday"], "text": ["x"]}
    pq.write_table(pa.table(columns), tmp_path / "tweets.parquet")
    with pytest.raises(LogError, match="column `created_at` is string, which can't be read as int64"):
        list(EventLog(tmp_path).events())


@pytest.mark.parametrize("file_format", ["parquet", "jsonl"])
def test_exposures_come_in_batches_sorted_by_time(tmp_path: Path, file_format: Format) -> None:
    rows = [
        {
            "user_id": f"u{i}",
            "tweet_id": "t",
            "shown_at": at,
            "retweet": i % 2 == 0,
            "like": None,
            "keep_rate": 0.5,
        }
        for i, at in enumerate([30, 10, 20])
    ]
    with LogWriter(tmp_path, file_format) as out:
        out.write(tweet("t", 1))
        out.write_batch("exposures_train", pa.RecordBatch.from_pylist(rows))
    log = EventLog(tmp_path)
    assert list(log.exposures) == ["train"]
    batches = list(log.exposures["train"].batches(rows=2))
    assert [batch.num_rows for batch in batches] == [2, 1]
    found = pa.Table.from_batches(batches)
    assert found["shown_at"].to_pylist() == [10, 20, 30]
    assert found["user_id"].to_pylist() == ["u1", "u2", "u0"]
    assert found["retweet"].to_pylist() == [False, True, True]
    assert found["keep_rate"].to_pylist() == [0.5] * 3
    assert found["quote"].null_count == 3
    assert log.exposures["train"].heads[0] == "retweet"


def test_exposures_without_a_label_or_an_id_are_counted(tmp_path: Path) -> None:
    rows = [
        {"user_id": "u", "tweet_id": "t", "shown_at": 1, "retweet": None},
        {"user_id": "", "tweet_id": "t", "shown_at": 1, "retweet": True},
        {"user_id": "u", "tweet_id": "t", "shown_at": 1, "retweet": True},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "seen.parquet")
    table = open_exposures(tmp_path / "seen.parquet")
    assert sum(batch.num_rows for batch in table.batches()) == 1
    assert sum(table.rejected.values()) == 2
    assert table.heads == ("retweet",)
    with pytest.raises(LogError, match="does not exist"):
        open_exposures(tmp_path / "none.parquet")


def test_a_log_that_was_cut_off_is_not_there(tmp_path: Path) -> None:
    def rows() -> Iterator[pa.RecordBatch]:
        yield pa.RecordBatch.from_pylist([{"tweet_id": "t", "author_id": "a", "created_at": 1, "text": "x"}])
        raise KeyboardInterrupt

    def cut_off() -> None:
        with LogWriter(tmp_path) as out:
            for batch in rows():
                out.write_batch("tweets", batch)

    with pytest.raises(KeyboardInterrupt):
        cut_off()
    assert list(tmp_path.iterdir()) == []


def test_a_log_is_only_overwritten_when_asked_to(tmp_path: Path) -> None:
    write(tmp_path, [tweet("t", 1), User(user_id="u")], "jsonl")
    with pytest.raises(LogError, match="already holds an event log"):
        LogWriter(tmp_path)
    with LogWriter(tmp_path, overwrite=True) as out:
        out.write(tweet("new", 2))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tweets.parquet"]
    assert [event for _, event in EventLog(tmp_path).events()] == [tweet("new", 2)]


def test_jsonl_refuses_rows_that_break_the_contract(tmp_path: Path) -> None:
    rows = pa.RecordBatch.from_pylist([{"user_id": "u", "tweet_id": "t", "action": "dance", "at": 1}])
    with pytest.raises(LogError, match="dance"), LogWriter(tmp_path, "jsonl") as out:
        out.write_batch("engagements", rows)
