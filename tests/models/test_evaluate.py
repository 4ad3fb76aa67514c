"""What evaluation says of good, odd and bad logs; how good a trained model is, `test_train` tests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.bundle import Bundle
from models.evaluate import evaluate
from models.events import Tweet, User
from models.log import LogError, LogWriter
from models.metrics import Scores, decisions
from models.report import write_report
from models.report.page import page as page_of
from tests.models.tiny import tiny_bundle

T = 1_700_000_000_000


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "<mine>"
    tiny_bundle(path)
    return path


def exposure(user: int, tweet: int | str, retweet: bool | None, **more: Any) -> dict[str, Any]:
    return {"user_id": f"u{user}", "tweet_id": str(tweet), "shown_at": T + 1000, "retweet": retweet} | more


def write_log(path: Path, exposures: list[dict[str, Any]], tweets: int = 20) -> Path:
    with LogWriter(path) as log:
        for user in range(5):
            log.write(User(user_id=f"u{user}", followers=10 * user, following=1))
        for i in range(tweets):
            log.write(
                Tweet(
                    tweet_id=str(i),
                    author_id=f"u{i % 5}" if i < 18 else f"new{i}",
                    created_at=T + i,
                    text=f"tweet number {i}",
                    language=["en", "de", None][i % 3],
                    kind=["original", "reply"][i % 2],  # type: ignore[arg-type]
                )
            )
        log.write_batch("exposures_valid", pa.RecordBatch.from_pylist(exposures))
    return path


def grid(retweet: bool | None = None) -> list[dict[str, Any]]:
    """Every user is shown every tweet; readers 5 to 7 are unknown."""
    return [
        exposure(user, tweet, (user + tweet) % 4 == 0 if retweet is None else retweet)
        for tweet in range(20)
        for user in range(8)
    ]


def test_segments_divide_the_exposures(bundle: Path, tmp_path: Path) -> None:
    found = evaluate(bundle, write_log(tmp_path / "log", grid()))
    groups = {segment.group for segment in found.segments}
    assert groups == {"followers", "reader", "author", "kind", "language"}
    for group in groups:
        members = [segment.scores for segment in found.segments if segment.group == group]
        assert sum(s.exposures for s in members) == found.retweet.exposures == 160
        assert sum(s.positives for s in members) == found.retweet.positives == 40
    by_name = {(segment.group, segment.name): segment.scores.exposures for segment in found.segments}
    assert by_name["reader", "cold: nothing known of them"] == 60
    assert by_name["author", "cold: their first tweet"] == (5 + 2) * 8
    assert by_name["language", "unknown"] == 6 * 8
    assert by_name["kind", "reply"] == 80


def test_intervals_hold_the_figure(bundle: Path, tmp_path: Path) -> None:
    found = evaluate(bundle, write_log(tmp_path / "log", grid()))
    for name in ("auc", "average_precision", "rce"):
        low, high = found.intervals[name]
        assert low < getattr(found.retweet, name) < high


def test_a_model_beside_itself_is_no_better(bundle: Path, tmp_path: Path) -> None:
    found = evaluate(bundle, write_log(tmp_path / "log", grid()), compare=[bundle])
    (other,) = found.compared
    assert other.retweet == found.retweet
    assert other.difference["auc"] == (0.0, 0.0)
    assert other.name == str(bundle)  # two alike: the whole path says which


def test_the_json_keeps_its_keys(bundle: Path, tmp_path: Path) -> None:
    plain = evaluate(bundle, write_log(tmp_path / "log", grid())).plain()
    assert {"exposures", "positives", "auc", "average_precision", "rce", "nrce", "ece"} <= plain.keys()
    assert msgspec.json.decode(msgspec.json.encode(plain))["intervals"]["auc"]


def test_the_report_is_one_page_that_fetches_nothing(bundle: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    tiny_bundle(other, seed=1)
    evaluate(bundle, write_log(tmp_path / "log", grid()), report=tmp_path / "report", compare=[other])
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"report.html", "metrics.json"}
    page = (tmp_path / "report" / "report.html").read_text()
    assert page.count("<svg") == 4
    assert not re.search(r"(?:src|href)=\"(?!#)|url\((?!#)|@import|<script", page)
    assert "<mine>" not in page
    assert "&lt;mine&gt;" in page
    assert "#0" not in page.replace("#000000", "")  # every colour is one of the page's
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(|href=")#([^")]+)', page)) <= set(ids)


def test_one_class_has_a_page_without_plots(bundle: Path, tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", grid(retweet=False))
    found = evaluate(bundle, log, report=tmp_path / "report")
    assert found.retweet.auc != found.retweet.auc
    assert found.plain()["auc"] is None
    assert "no curve to draw" in (tmp_path / "report" / "report.html").read_text()


def test_what_cannot_be_judged_is_counted(bundle: Path, tmp_path: Path) -> None:
    rows = [*grid(), exposure(0, "missing", True), exposure(1, 1, False), exposure(1, 1, False)]
    found = evaluate(bundle, write_log(tmp_path / "log", rows))
    assert found.retweet.exposures == 160
    assert found.skipped == {
        "the tweet is not in the log, or is younger than the exposure": 1,
        "the same user, tweet and time once more": 2,
    }


def left_out(page: str) -> list[str]:
    _, _, rest = page.partition("<h2>Left out</h2>")
    return re.findall(r"<p>(.*?)</p>", rest.partition("<h2>")[0])


def test_the_page_says_what_was_left_out_of_each_table(bundle: Path, tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", [*grid(), exposure(0, "missing", True)])
    users = [{"user_id": f"u{i}", "followers": 5 - i} for i in range(8)]
    pq.write_table(pa.Table.from_pylist(users), log / "users.parquet")
    did = {"user_id": "u1", "tweet_id": "1", "action": "<b>", "at": T}
    pq.write_table(pa.Table.from_pylist([did]), log / "engagements.parquet")
    evaluate(bundle, log, report=tmp_path / "report")
    assert left_out((tmp_path / "report" / "report.html").read_text()) == [
        "1 exposures: the tweet is not in the log, or is younger than the exposure",
        "2 users: Expected `int` &gt;= 0 - at `$.followers`",
        "1 engagements: Invalid enum value &#x27;&lt;b&gt;&#x27; - at `$.action`",
    ]


def test_the_page_names_the_most_frequent_reasons_only_and_none_where_nothing_was(
    bundle: Path, tmp_path: Path
) -> None:
    found = evaluate(bundle, write_log(tmp_path / "log", grid()))
    assert "Left out" not in page_of("m", found.retweet, found, [])
    found = msgspec.structs.replace(found, rejected={"users": {f"reason {i}": i for i in range(1, 9)}})
    lines = left_out(page_of("m", found.retweet, found, []))
    assert (lines[0], lines[-1], len(lines)) == ("8 users: reason 8", "6 users: other reasons", 6)


def test_nothing_to_judge_is_an_error(bundle: Path, tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", [exposure(0, "missing", True)])
    with pytest.raises(LogError, match=r"none of its exposures can be judged .* 1 of 1 rows"):
        evaluate(bundle, log)


def test_an_empty_log_is_an_error(bundle: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.mkdir()
    with pytest.raises(LogError, match="is it an event log"):
        evaluate(bundle, log)
    (log / "tweets.jsonl").touch()
    with pytest.raises(LogError) as caught:
        evaluate(bundle, log)
    assert "\n" not in str(caught.value)


def test_decisions_by_hand() -> None:
    import numpy as np

    found = decisions(np.array([True, True, False, False]), np.array([0.9, 0.1, 0.6, 0.2]))
    assert (found.accuracy, found.precision, found.recall, found.f1) == (0.5, 0.5, 0.5, 0.5)
    none = decisions(np.zeros(2, np.bool_), np.array([0.1, 0.2]))
    assert none.plain() == {"threshold": 0.5, "accuracy": 1.0, "precision": None, "recall": None, "f1": None}


def test_a_report_of_bare_probabilities(tmp_path: Path) -> None:
    import numpy as np

    labels = np.arange(100) % 10 == 0
    p = np.linspace(0.01, 0.5, 100)
    figures = Scores(exposures=100, positives=10, auc=0.5, average_precision=0.1, rce=0.0, nrce=1.0, ece=0.1)
    written = write_report(tmp_path, figures, labels, p)
    assert [path.name for path in written] == ["report.html", "metrics.json"]
    assert written[0].read_text().count("<svg") == 4


def tokens_log(path: Path, ids: list[int]) -> Path:
    """Tweet i is the token ids[i], and is shown to five users."""
    with LogWriter(path) as log:
        for i, token in enumerate(ids):
            log.write(Tweet(tweet_id=str(i), author_id="a", created_at=T + i, text_tokens=[5, token]))
        rows = [exposure(user, i, user == i) for i in range(len(ids)) for user in range(5)]
        log.write_batch("exposures_valid", pa.RecordBatch.from_pylist(rows))
    return path


@pytest.fixture(scope="module")
def reader_of_ids(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "ids"
    tiny_bundle(path, source=[f"word{i}" for i in range(100)])
    return path


def test_tweets_of_another_vocabulary_are_left_out_and_counted(reader_of_ids: Path, tmp_path: Path) -> None:
    entries = len(Bundle.from_pretrained(reader_of_ids).tokens.source)
    found = evaluate(reader_of_ids, tokens_log(tmp_path / "log", [7, 119_547, entries - 1, entries]))
    assert found.retweet.exposures == 10
    why = f"token id 119547 is out of the vocabulary of {entries} entries"
    assert found.skipped == {f"the tweet can't be read (the first: {why})": 10}


def test_a_log_of_another_vocabulary_is_an_error(bundle: Path, reader_of_ids: Path, tmp_path: Path) -> None:
    log = tokens_log(tmp_path / "log", [119_547])
    for reader, why in (
        (reader_of_ids, "token id 119547 is out of"),
        (bundle, "the model learned from texts, and knows no vocabulary of token ids"),
    ):
        with pytest.raises(LogError, match=f"none of its exposures .* 5 of 5 rows: .* {why}") as caught:
            evaluate(reader, log)
        assert "\n" not in str(caught.value)


def test_all_are_judged_on_what_all_can_read(reader_of_ids: Path, tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "wide", source=[f"word{i}" for i in range(1_000)])
    log = tokens_log(tmp_path / "log", [7, 9, 999])
    assert evaluate(tmp_path / "wide", log).retweet.exposures == 15
    found = evaluate(tmp_path / "wide", log, compare=[reader_of_ids])
    assert found.retweet.exposures == found.compared[0].retweet.exposures == 10
