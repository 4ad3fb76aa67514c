"""The RecSys format: round trips, unreadable rows, larger-than-memory conversion."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import recsys_convert
from models.events import Engagement, Follow, Tweet, User
from models.log import EventLog, LogError, LogWriter
from models.read_report import ReadReport
from models.recsys import COLUMNS, read_recsys
from models.recsys_convert import convert
from models.recsys_write import build_tokenizer, write_recsys

FIELDS = {
    "text_tokens": "101\t56898\t102",
    "hashtags": "AB\tCD",
    "tweet_id": "T1",
    "present_media": "Photo\tPhoto",
    "present_links": "L1",
    "present_domains": "D1",
    "tweet_type": "TopLevel",
    "language": "ES",
    "tweet_timestamp": "1581262691",
    "engaged_with_user_id": "author",
    "engaged_with_user_follower_count": "10",
    "engaged_with_user_following_count": "20",
    "engaged_with_user_is_verified": "true",
    "engaged_with_user_account_creation": "1500000000",
    "enaging_user_id": "reader",
    "enaging_user_follower_count": "1",
    "enaging_user_following_count": "2",
    "enaging_user_is_verified": "false",
    "enaging_user_account_creation": "1400000000",
    "engagee_follows_engager": "true",
    "reply_timestamp": "",
    "retweet_timestamp": "1581262700",
    "retweet_with_comment_timestamp": "",
    "like_timestamp": "1581262699",
}


def line(**changes: str) -> str:
    return "\x01".join((FIELDS | changes).values()) + "\n"


def read(path: Path, report: ReadReport | None = None) -> list[dict[str, Any]]:
    return list(pa.Table.from_batches(read_recsys(path, report)).to_pylist())


def test_the_columns_are_the_challenges() -> None:
    assert tuple(FIELDS) == COLUMNS


def test_a_row_becomes_tweet_profiles_engagements_exposure_and_follow(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text(line())
    report = convert(tmp_path / "a.tsv", tmp_path / "log")
    assert report.written == {
        "users": 2,
        "follows": 1,
        "tweets": 1,
        "engagements": 2,
        "exposures_train": 1,
    }
    log = EventLog(tmp_path / "log")
    assert [event for _, event in log.events()] == [
        User(user_id="author", followers=10, following=20, verified=True, created_at=1500000000000),
        User(user_id="reader", followers=1, following=2, created_at=1400000000000),
        Follow(follower_id="author", author_id="reader", action="follow", at=0),
        Tweet(
            tweet_id="T1",
            author_id="author",
            created_at=1581262691000,
            text_tokens=[101, 56898, 102],
            language="ES",
            hashtags=["AB", "CD"],
            links=["L1"],
            media=["Photo", "Photo"],
        ),
        Engagement(user_id="reader", tweet_id="T1", action="like", at=1581262699000),
        Engagement(user_id="reader", tweet_id="T1", action="retweet", at=1581262700000),
    ]
    [batch] = log.exposures["train"].batches()
    assert batch.to_pylist() == [
        {
            "user_id": "reader",
            "tweet_id": "T1",
            "shown_at": 1581262691000,
            "retweet": True,
            "like": True,
            "reply": False,
            "quote": False,
            "keep_rate": None,
        }
    ]


names = st.text(st.characters(codec="utf-8", exclude_characters="\x01\t\r\n"), min_size=1, max_size=6)
# But for what a log would take for seconds where milliseconds belong.
seconds = st.integers(0, 999_999) | st.integers(4_100_001, 4_102_444_800)
counts = st.integers(0, 10**12)


@st.composite
def logs(draw: st.DrawFn) -> dict[str, list[Any]]:
    ids = draw(st.lists(names, min_size=1, max_size=5, unique=True))
    users = [
        User(
            user_id=i,
            followers=draw(counts),
            following=draw(counts),
            verified=draw(st.booleans()),
            created_at=1000 * draw(seconds),
        )
        for i in ids
    ]
    tweets = [
        Tweet(
            tweet_id=f"{number}",
            author_id=draw(st.sampled_from(ids)),
            created_at=1000 * draw(seconds),
            text_tokens=draw(st.lists(st.integers(0, 119_546), min_size=1, max_size=4)),
            language=draw(st.none() | names),
            kind=draw(st.sampled_from(["original", "reply", "quote", "retweet"])),
            hashtags=draw(st.lists(names, max_size=2)),
            media=draw(st.lists(names, max_size=2)),
            links=draw(st.lists(names, max_size=2)),
        )
        for number in range(draw(st.integers(1, 4)))
    ]
    pairs = st.tuples(st.sampled_from(ids), st.sampled_from(tweets))
    exposures, engagements = [], []
    for user, tweet in draw(
        st.lists(pairs, min_size=1, max_size=6, unique_by=lambda p: (p[0], p[1].tweet_id))
    ):
        labels = {}
        for action in ("retweet", "like", "reply", "quote"):
            labels[action] = draw(st.booleans())
            if labels[action]:
                at = 1000 * draw(seconds)
                engagements.append(Engagement(user_id=user, tweet_id=tweet.tweet_id, action=action, at=at))
        exposures.append(
            {"user_id": user, "tweet_id": tweet.tweet_id, "shown_at": tweet.created_at, **labels}
        )
    edges = draw(st.lists(st.tuples(st.sampled_from(ids), st.sampled_from(ids)), max_size=4, unique=True))
    follows = [Follow(follower_id=a, author_id=b, action="follow", at=0) for a, b in edges]
    return {"events": [*users, *follows, *tweets, *engagements], "exposures": exposures}


def content(path: Path) -> tuple[list[Any], list[Any]]:
    log = EventLog(path)
    events = sorted((event for _, event in log.events()), key=repr)
    rows = pa.Table.from_batches(log.exposures["train"].batches()).to_pylist()
    assert not log.rejected
    return events, sorted(rows, key=repr)


@settings(max_examples=60, deadline=None)
@given(logs())
def test_writing_and_converting_gives_the_same_log(
    tmp_path_factory: pytest.TempPathFactory, made: dict[str, list[Any]]
) -> None:
    path = tmp_path_factory.mktemp("trip")
    with LogWriter(path / "log") as out:
        for event in made["events"]:
            out.write(event)
        out.write_batch("exposures_train", pa.RecordBatch.from_pylist(made["exposures"]))
    log = EventLog(path / "log")
    assert write_recsys(log, log.exposures["train"], path / "a.tsv") == len(made["exposures"])
    convert(path / "a.tsv", path / "again")

    events, exposures = content(path / "log")
    again, again_exposures = content(path / "again")
    # The file holds only those who write or read, and only the author's follow of the reader.
    shown = {row["tweet_id"] for row in exposures}
    authors = {e.tweet_id: e.author_id for e in events if isinstance(e, Tweet)}
    people = {row["user_id"] for row in exposures} | {authors[tweet] for tweet in shown}
    back = {(authors[row["tweet_id"]], row["user_id"]) for row in exposures}
    expected = [
        event
        for event in events
        if (isinstance(event, Tweet | Engagement) and event.tweet_id in shown)
        or (isinstance(event, User) and event.user_id in people)
        or (isinstance(event, Follow) and (event.follower_id, event.author_id) in back)
    ]
    assert again == expected
    assert again_exposures == exposures


def test_unreadable_rows_are_counted_with_their_lines_and_the_rest_goes_on(tmp_path: Path) -> None:
    bad = {
        2: line().rpartition("\x01true")[0] + "\n",
        3: line(tweet_timestamp="yesterday"),
        4: line(tweet_timestamp="9999999999"),
        5: line(text_tokens=""),
        6: line(text_tokens="101\t\t102"),
        7: line(tweet_id=""),
        8: line(tweet_type="Shout"),
        9: line(like_timestamp="-5"),
        10: line(enaging_user_follower_count="many"),
        11: line(engagee_follows_engager="maybe"),
        12: line(language="E\rS"),
        13: line(text_tokens="\t".join(["7"] * 4097)),
        14: line(enaging_user_id="x" * 129),
        15: line(text_tokens="9999999999"),
        17: "\x01" * 40 + "\n",
    }
    rows = [bad.get(number) or line(tweet_id=f"T{number}") for number in range(1, 19)]
    path = tmp_path / "a.tsv"
    path.write_bytes("".join(rows).encode().replace(b"T18", b"T18\xff") + line(tweet_id="last").encode())
    report = ReadReport()
    assert [row["tweet_id"] for row in read(path, report)] == ["T1", "T16", "last"]
    assert (report.rows, report.unreadable) == (3, len(bad) + 1)
    assert [int(p.split(":")[0].removeprefix("line ")) for p in report.problems] == [*bad, 18]
    assert report.problems[1] == "line 3: `tweet_timestamp` can't be 'yesterday'"
    assert report.problems[-1] == "line 18: not UTF-8"

    with pytest.raises(LogError, match=r"a\.tsv, line 2: 19 fields instead of 24"):
        read(path, ReadReport(strict=True))
    with pytest.raises(LogError, match="line 2"):
        convert(path, tmp_path / "log", strict=True)
    assert convert(path, tmp_path / "log").read[str(path)].unreadable == len(bad) + 1


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(COLUMNS), st.text(st.characters(codec="utf-8"), max_size=6))
def test_whatever_a_field_holds_the_row_is_read_or_counted(
    tmp_path_factory: pytest.TempPathFactory, column: str, value: str
) -> None:
    path = tmp_path_factory.mktemp("any") / "a.tsv"
    path.write_text(line(tweet_id="good") + line(**{column: value}) + line(tweet_id="good"), newline="")
    report = ReadReport()
    found = read(path, report)
    assert [found[0]["tweet_id"], found[-1]["tweet_id"]] == ["good", "good"]
    assert report.rows == len(found) > 1


def test_a_block_that_ends_within_a_row_and_line_numbers_beyond_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.recsys._BLOCK", 1000)
    path = tmp_path / "a.tsv"
    rows = [line(tweet_id=str(number)) for number in range(1, 41)]
    rows[29] = "broken\n"
    path.write_text("".join(rows).removesuffix("\n"))
    report = ReadReport()
    assert [row["tweet_id"] for row in read(path, report)] == [str(n) for n in range(1, 41) if n != 30]
    assert report.problems == ["line 30: 1 fields instead of 24"]


def test_compressed_files_files_without_labels_and_with_more_columns(tmp_path: Path) -> None:
    unlabelled = "\x01".join(line().split("\x01")[:20]) + "\n"
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress(unlabelled.encode()))
    [row] = read(tmp_path / "a.tsv.gz")
    assert "like_timestamp" not in row
    report = convert(tmp_path / "a.tsv.gz", tmp_path / "log")
    assert report.written == {"users": 2, "follows": 1, "tweets": 1}

    (tmp_path / "b.tsv").write_text(line().removesuffix("\n") + "\x01more\r\n")
    [row] = read(tmp_path / "b.tsv")
    assert tuple(row) == COLUMNS
    assert row["like_timestamp"] == 1581262699


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "is empty"), ("user,item\n1,2\n", "is no RecSys TSV: 1 fields in line 1")],
)
def test_another_file_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.tsv").write_text(text)
    with pytest.raises(LogError, match=message):
        read(tmp_path / "a.tsv")
    with pytest.raises(LogError, match="can't be read: No such file"):
        read(tmp_path / "none.tsv")


def test_more_rows_than_a_run_holds_are_merged_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many runs and slices; tweets and users that occur in several runs are written once."""
    monkeypatch.setattr(recsys_convert, "_RUN_ROWS", 40)
    monkeypatch.setattr(recsys_convert, "_SAMPLE_EVERY", 5)
    monkeypatch.setattr("models.recsys._BLOCK", 3000)
    # Tweets 0..96 in a scrambled order, each shown to two readers, the second time long after the first.
    shown = [(t * 31 % 97, reader) for reader in ("r0", "r1") for t in range(97)]
    rows = [
        line(
            tweet_id=f"t{t}",
            tweet_timestamp=str(1_581_000_000 + t // 2),
            enaging_user_id=reader,
            enaging_user_follower_count=str(t),
        )
        for t, reader in shown
    ]
    (tmp_path / "a.tsv").write_text("".join(rows))
    report = convert({"train": tmp_path / "a.tsv", "valid": tmp_path / "a.tsv"}, tmp_path / "log")
    assert report.written["tweets"] == 97
    assert report.written["engagements"] == 4 * 97
    assert report.written["exposures_train"] == report.written["exposures_valid"] == 2 * 97
    log = EventLog(tmp_path / "log")
    tweets = [event for _, event in log.events(tables=("tweets",)) if isinstance(event, Tweet)]
    times = [tweet.created_at for tweet in tweets]
    assert times == sorted(times)
    assert len({tweet.tweet_id for tweet in tweets}) == 97
    users = {e.user_id: e for _, e in log.events(tables=("users",)) if isinstance(e, User)}
    assert users.keys() == {"author", "r0", "r1"}
    assert users["r0"].followers == 96  # the profile that came with the latest tweet
    assert [p.name for p in (tmp_path / "log").iterdir() if p.name.startswith(".")] == []


def test_the_vocabulary_spells_the_text_out_again() -> None:
    texts = ["The comet, über alles! #Sky @mira12 https://example.org/7", "Otro día"]
    tokenizer = build_tokenizer(texts)
    ids = tokenizer.encode(texts[0]).ids
    pieces = [tokenizer.id_to_token(i) for i in ids]
    assert pieces[0] == "[CLS]"
    assert pieces[-1] == "[SEP]"
    assert "[UNK]" not in pieces
    assert "".join(str(piece).removeprefix("##") for piece in pieces[1:-1]) == texts[0].replace(" ", "")
    assert build_tokenizer(reversed(texts)).get_vocab() == tokenizer.get_vocab()


def test_an_exposure_of_an_unknown_tweet_is_an_error(tmp_path: Path) -> None:
    row = {"user_id": "u", "tweet_id": "gone", "shown_at": 5, "retweet": False}
    with LogWriter(tmp_path / "log") as out:
        out.write(Tweet(tweet_id="t", author_id="a", created_at=1, text="hello"))
        out.write_batch("exposures", pa.RecordBatch.from_pylist([row]))
    log = EventLog(tmp_path / "log")
    with pytest.raises(LogError, match=r"shows tweet gone, which .* does not have"):
        write_recsys(log, log.exposures[""], tmp_path / "a.tsv")
