"""Nothing that is named like a table is lost silently, and what nobody needs stops nobody."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.evaluate import validation_exposures
from models.log import EventLog, LogError
from models.train import training_exposures

TWEETS = pa.table({"tweet_id": ["1"], "author_id": ["a"], "created_at": [1], "text": ["x"]})
SHOWN = pa.table({"user_id": ["u"], "tweet_id": ["1"], "shown_at": [1], "retweet": [True]})
DID = pa.table({"user_id": ["u"], "tweet_id": ["1"], "action": ["like"], "at": [1]})


@pytest.fixture
def log(tmp_path: Path) -> Path:
    pq.write_table(TWEETS, tmp_path / "tweets.parquet")
    return tmp_path


@pytest.mark.parametrize("name", ["engagements.parquet", "engagements", "Engagements.parquet"])
def test_a_folder_of_parts_and_capitals_are_found(log: Path, name: str) -> None:
    (log / name).mkdir()
    pq.write_table(DID, log / name / "part-0.parquet")
    assert EventLog(log).tables["engagements"].rows == 1


def test_a_file_in_capitals_is_found(log: Path) -> None:
    pq.write_table(DID, log / "Engagements.parquet")
    assert EventLog(log).tables["engagements"].rows == 1


FORMS = (
    "engagements.csv",
    "engagements.jsonl.gz",
    "Engagements.ndjson",
    "engagements_2.jsonl",
    "engagement.pq",
)


@pytest.mark.parametrize("name", FORMS)
def test_a_table_in_another_form_is_said(log: Path, name: str) -> None:
    (log / name).touch()
    with pytest.raises(LogError, match=f"can't be read as a table of the event log: give {name[:4].lower()}"):
        EventLog(log)


def test_a_folder_without_parts_is_said(log: Path) -> None:
    (log / "users.parquet").mkdir()
    (log / "users.parquet" / "_SUCCESS").touch()
    with pytest.raises(LogError, match="give users"):
        EventLog(log)


def test_other_files_are_no_matter(log: Path) -> None:
    for name in ("README.md", "truth.parquet", "world.json", ".engagements.parquet.part"):
        (log / name).touch()
    assert list(EventLog(log).tables) == ["tweets"]


def test_two_files_of_the_same_exposures_are_said(log: Path) -> None:
    pq.write_table(SHOWN, log / "exposures_train.parquet")
    (log / "exposures_train.jsonl").touch()
    with pytest.raises(LogError, match=r"has both exposures_train\.jsonl and exposures_train\.parquet"):
        EventLog(log)


@pytest.mark.parametrize("table", ["users", "follows", "engagements"])
def test_an_optional_table_without_rows_counts_as_absent(log: Path, table: str) -> None:
    (log / f"{table}.jsonl").touch()
    assert list(EventLog(log).tables) == ["tweets"]
    with pytest.raises(LogError, match=f"{table}.jsonl is empty: it has no rows"):
        EventLog(log, require=("tweets", table))


def test_exposures_that_nobody_asks_for_stop_nobody(log: Path) -> None:
    pq.write_table(SHOWN, log / "exposures_train.parquet")
    pq.write_table(SHOWN.slice(0, 0), log / "exposures_valid.parquet")
    (log / "exposures_schema.json").write_text("{}")
    events = EventLog(log)
    assert training_exposures(events).rows == 1
    with pytest.raises(LogError, match="is empty: it has no rows"):
        validation_exposures(events)


def test_exposures_meant_for_another_use_are_not_taken_unasked(log: Path) -> None:
    (log / "exposures_train.parquet").touch()
    with pytest.raises(LogError, match=r"has no exposures_valid \(found: exposures_train\.parquet\)"):
        validation_exposures(EventLog(log))
    (log / "exposures_train.parquet").rename(log / "exposures_test.parquet")
    with pytest.raises(LogError, match=r"has no exposures_train \(found: exposures_test\.parquet\)"):
        training_exposures(EventLog(log))


@pytest.mark.parametrize("name", ["exposures.parquet", "exposures_may.parquet", "Exposures-May.parquet"])
def test_the_only_exposures_are_taken_where_their_name_says_nothing(log: Path, name: str) -> None:
    pq.write_table(SHOWN, log / name)
    assert training_exposures(EventLog(log)).path.name == name
    assert validation_exposures(EventLog(log)).path.name == name
