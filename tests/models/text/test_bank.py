"""Readers' tastes in training are those that the stream would have kept by then."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from models.log import EventLog
from models.replay import replay
from models.state.decay import ACTIONS
from models.state.taste import remember, taste_dtype
from models.state.tweet import TERMS
from models.text.bank import reader_tastes
from models.text.terms import BUCKETS
from models.train import training_exposures
from models.world import SIZES, simulate, write
from tests.models.tiny import random_tastes


def test_each_user_has_the_taste_of_the_time(tmp_path: Path) -> None:
    write(simulate(replace(SIZES["small"], tweets=60)), tmp_path / "log")
    events = EventLog(tmp_path / "log")
    dataset = replay(events, training_exposures(events), tmp_path / "dataset")
    terms = np.random.default_rng(0).integers(0, BUCKETS, (len(dataset.tweets), TERMS)).astype(np.uint16)
    tastes = random_tastes(4)
    found = reader_tastes(dataset, terms, tastes, tmp_path / "tastes.bin")
    assert found["counts"][:, 0].max() > 3
    for i in range(0, len(dataset.users), 7):
        user, wanted = dataset.users[i], np.zeros(1, taste_dtype(4))
        mine = dataset.engaged[: user["engaged"]]
        mine = mine[mine["reader"] == user["reader"]]
        for row, vector in zip(mine, tastes.of_tweets(terms[mine["tweet"]]), strict=True):
            remember(wanted, vector, ACTIONS[row["action"]], int(row["at"]))
        assert found[i].tobytes() == wanted[0].tobytes()

    since = int(dataset.users["engaged"][len(found) // 2])
    later = reader_tastes(dataset, terms, tastes, tmp_path / "later.bin", since)
    old = dataset.users["engaged"] < since
    assert 0 < old.sum() < len(old)
    assert not later["counts"][old].any()
    assert later[~old].tobytes() == found[~old].tobytes()
