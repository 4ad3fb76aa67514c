"""What of a log is lost is said, wherever it was lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.dataset import Dataset
from models.events import Engagement, Tweet
from models.log import EventLog, LogError, LogWriter
from models.losses import Losses, losses_of
from models.recipe import TrainingConfig
from models.replay import replay

T = 1_700_000_000_000


def did(user: str, tweet: str, at: int, action: str = "retweet") -> Engagement:
    return Engagement(user_id=user, tweet_id=tweet, action=action, at=T + at)  # type: ignore[arg-type]


def shown(user: str, tweet: str, at: int, **labels: bool) -> dict[str, Any]:
    return {"user_id": user, "tweet_id": tweet, "shown_at": T + at, "retweet": False, "like": None, **labels}


def run(path: Path, engagements: list[Engagement], exposures: list[dict[str, Any]]) -> Dataset:
    with LogWriter(path / "log") as writer:
        for name in "ab":
            writer.write(Tweet(tweet_id=name, author_id="ann", created_at=T, text=f"text {name}"))
        again = Tweet(
            tweet_id="a again", author_id="bob", created_at=T, text="text a", kind="retweet", original_id="a"
        )
        writer.write(again)
        for event in engagements:
            writer.write(event)
        writer.write_batch("exposures", pa.RecordBatch.from_pylist(exposures))
    log = EventLog(path / "log")
    return replay(log, log.exposures[""], path / "dataset")


def test_rows_that_are_rejected_are_said_with_their_table_and_reason(tmp_path: Path) -> None:
    path = tmp_path / "log"
    run(tmp_path, [did("rob", "a", 5)], [shown("rob", "a", 1), shown("rob", "gone", 1)])
    rows = [{"user_id": "rob", "followers": -1}, {"user_id": "sue", "followers": -1}]
    pq.write_table(pa.Table.from_pylist(rows), path / "users.parquet")
    log = EventLog(path)
    found = losses_of(replay(log, log.exposures[""], tmp_path / "again"))
    assert found.rejected == {"users": {"Expected `int` >= 0 - at `$.followers`": 2}}
    assert found.warnings() == [
        "exposures: 1 of 2 rows left out: the tweet is not in the log, or is younger than the exposure",
        "users: 2 of 2 rows left out: Expected `int` >= 0 - at `$.followers`",
    ]
    assert found.largest().endswith("users: 2 of 2 rows: Expected `int` >= 0 - at `$.followers`)")


def test_only_the_most_frequent_reasons_are_shown_one_by_one() -> None:
    lost = Losses(rows={"users": 99}, rejected={"users": {f"reason {i}": i for i in range(1, 9)}})
    lines = lost.warnings()
    assert lines[0] == "users: 8 of 99 rows left out: reason 8"
    assert lines[-1] == "users: 6 of 99 rows left out: other reasons"
    assert len(lines) == 6


def test_engagements_with_no_tweet_before_them_are_counted(tmp_path: Path) -> None:
    early = [did("rob", "a", -5), did("sue", "b", -5), did("rob", "gone", 5)]
    found = losses_of(run(tmp_path, [*early, did("rob", "b", 5)], [shown("rob", "a", 9)]))
    assert found.unmatched == 3
    [line] = found.warnings()
    assert line.startswith("engagements: 3 of 4 have no tweet before them")


def test_some_engagements_with_tweets_outside_the_log_are_no_matter(tmp_path: Path) -> None:
    found = losses_of(run(tmp_path, [did("rob", "gone", 5), did("rob", "b", 5)], [shown("rob", "a", 9)]))
    assert found.unmatched == 1
    assert found.warnings() == []


def test_an_exposure_after_its_own_engagement_is_counted(tmp_path: Path) -> None:
    exposures = [
        shown("rob", "a", 5, retweet=True),  # its engagement is of this millisecond: not known yet
        shown("rob", "b", 5, like=True),  # liked later
        shown("sue", "a", 9, retweet=True),
        shown("sue", "b", 9, retweet=False),  # it is no answer
        shown("tom", "a", 9, retweet=True),  # what was logged is another action
    ]
    engagements = [
        did("rob", "a", 5),
        did("sue", "a", 8),
        did("sue", "b", 8),
        did("tom", "a", 8, "like"),
        did("rob", "b", 20, "like"),
    ]
    found = losses_of(run(tmp_path, engagements, exposures))
    assert (found.acted, found.answered) == (4, 1)
    [line] = found.warnings()
    assert line.startswith("exposures: 1 of 4 that ended in an action are shown after that very engagement")


def test_an_engagement_with_the_original_is_no_answer_to_its_retweet(tmp_path: Path) -> None:
    exposures = [shown("rob", "a again", 9, retweet=True), shown("sue", "a again", 9, retweet=True)]
    engagements = [did("rob", "a", 5), did("rob", "a again", 12), did("sue", "a again", 5)]
    found = losses_of(run(tmp_path, engagements, exposures))
    assert (found.acted, found.answered) == (2, 1)


def test_a_training_without_labels_says_what_was_lost(tmp_path: Path) -> None:
    from models.baselines.train import fit_baseline
    from models.progress import silent
    from models.recipe import Recipe
    from models.train import fit

    dataset = run(tmp_path, [], [shown("rob", "a", 5), shown("rob", "gone", 5, retweet=True)])
    why = r"nothing can be learned \(left out: exposures: 1 of 2 rows: the tweet is not in the log"
    with pytest.raises(LogError, match=why):
        fit_baseline(dataset, "logistic", TrainingConfig())
    with pytest.raises(LogError, match=why):
        fit(dataset, Recipe(), tmp_path / "work", silent, tmp_path / "cache")
