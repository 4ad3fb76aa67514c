"""Logs of other shapes, made of one log: fewer exposures, less history, other readers, less of everything.

Knows nothing of what is done with them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from tokenizers import BertWordPieceTokenizer

from models.log import EventLog, LogError, LogWriter

_SEED: Final = 3


class Tables(NamedTuple):
    """The tables of a log, exposures in time order."""

    tweets: pa.Table
    engagements: pa.Table
    follows: pa.Table | None
    users: pa.Table | None
    train: pa.Table
    valid: pa.Table

    @classmethod
    def read(cls, log: Path) -> Tables:
        """Read all of a log. Raises LogError where it lacks engagements or exposures."""
        events = EventLog(log, require=("tweets", "engagements"))
        if not {"train", "valid"} <= events.exposures.keys():
            raise LogError(f"{log} has no exposures_train and exposures_valid")
        found = {name: pa.Table.from_batches(table.batches()) for name, table in events.tables.items()}
        train, valid = (
            pa.Table.from_batches(events.exposures[name].batches()) for name in ("train", "valid")
        )
        return cls(
            found["tweets"], found["engagements"], found.get("follows"), found.get("users"), train, valid
        )

    def write(self, folder: Path) -> None:
        """Write them as a log."""
        names = {"train": "exposures_train", "valid": "exposures_valid"}
        with LogWriter(folder, overwrite=True) as writer:
            for name, table in self._asdict().items():
                for batch in [] if table is None else table.to_batches():
                    writer.write_batch(names.get(name, name), batch)


class Shape(NamedTuple):
    """`what` is for people. `vocabulary`: whether `of` needs one, and the recipe its file."""

    what: str
    of: Callable[[Tables], Tables]
    vocabulary: bool = False


def shapes(vocabulary: Path | None = None) -> dict[str, Shape]:
    """By name, the smallest change first. `vocabulary` is a WordPiece vocabulary file, one entry a line."""
    found = {
        "whole": Shape("whole", lambda tables: tables),
        "thin": Shape("a tenth of the exposures, at random", lambda tables: _sampled(tables, 0.1)),
        "tiny": Shape("1.5 % of them", lambda tables: _sampled(tables, 0.015)),
        "young": Shape("begins where a sixth of the exposures is left: nothing from before", _young),
        "gap": Shape("exposures end after two thirds", _gap),
        "partial": Shape("four of five engagements are not in it, nor their training exposures", _partial),
        "strangers": Shape("40 % of the readers have no training exposure; judged on them alone", _strangers),
        "balanced": Shape("retweeted and not retweeted ones one to one, both parts", _balanced),
        "bare": Shape("no users, no follows; tweets have author, time and text alone", _bare),
    }
    if vocabulary is not None:
        found["ids"] = Shape(
            "BERT ids in place of texts, no mentions", lambda tables: _ids(tables, vocabulary), True
        )
    return found


def _sampled(tables: Tables, share: float) -> Tables:
    return tables._replace(train=tables.train.filter(pa.array(_chance(len(tables.train)) < share)))


def _young(tables: Tables) -> Tables:
    since = _time_at(tables.train, 5 / 6)
    train = _since(tables.train, "shown_at", since)
    tweets = tables.tweets
    # What was shown since then is there, however old it is.
    shown = pc.unique(pa.chunked_array([*train["tweet_id"].chunks, *tables.valid["tweet_id"].chunks]))
    kept = pc.or_(pc.greater_equal(tweets["created_at"], since), pc.is_in(tweets["tweet_id"], shown))
    return tables._replace(
        tweets=tweets.filter(kept), engagements=_since(tables.engagements, "at", since), train=train
    )


def _gap(tables: Tables) -> Tables:
    until = _time_at(tables.train, 2 / 3)
    return tables._replace(train=tables.train.filter(pc.less(tables.train["shown_at"], until)))


def _partial(tables: Tables) -> Tables:
    known = _chance(len(tables.engagements)) < 0.2
    gone = set(_pairs(tables.engagements.filter(pa.array(~known))))
    recorded = [pair not in gone for pair in _pairs(tables.train)]
    return tables._replace(
        engagements=tables.engagements.filter(pa.array(known)), train=tables.train.filter(pa.array(recorded))
    )


def _strangers(tables: Tables) -> Tables:
    readers = pc.unique(tables.train["user_id"]).sort()
    strangers = readers.filter(pa.array(_chance(len(readers)) < 0.4))
    train, valid = (pc.is_in(table["user_id"], strangers) for table in (tables.train, tables.valid))
    return tables._replace(train=tables.train.filter(pc.invert(train)), valid=tables.valid.filter(valid))


def _balanced(tables: Tables) -> Tables:
    def even(table: pa.Table) -> pa.Table:
        labels = table["retweet"].to_numpy()
        keep = labels.sum() / (~labels).sum()
        return table.filter(pa.array(labels | (_chance(len(table)) < keep)))

    return tables._replace(train=even(tables.train), valid=even(tables.valid))


def _bare(tables: Tables) -> Tables:
    names = ["tweet_id", "author_id", "created_at", "text"]
    return tables._replace(tweets=tables.tweets.select(names), follows=None, users=None)


def _ids(tables: Tables, vocabulary: Path) -> Tables:
    tokenizer = BertWordPieceTokenizer(str(vocabulary), lowercase=False)
    texts = pc.fill_null(tables.tweets["text"], "").to_pylist()
    ids = pa.array([each.ids for each in tokenizer.encode_batch(texts)], pa.list_(pa.int64()))
    tweets = tables.tweets.drop_columns(["text", "text_tokens", "mentions"])
    return tables._replace(tweets=tweets.append_column("text_tokens", ids))


def _chance(rows: int) -> NDArray[np.float64]:
    """The same for every table of so many rows."""
    return np.random.default_rng(_SEED).random(rows)


def _time_at(exposures: pa.Table, share: float) -> int:
    """When this share of them had been shown."""
    return int(exposures["shown_at"][int(share * len(exposures))].as_py())


def _since(table: pa.Table, time: str, since: int) -> pa.Table:
    return table.filter(pc.greater_equal(table[time], since))


def _pairs(table: pa.Table) -> zip[tuple[str, str]]:
    return zip(table["user_id"].to_pylist(), table["tweet_id"].to_pylist(), strict=True)
