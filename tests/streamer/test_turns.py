from __future__ import annotations

import threading

import pytest

from streamer.turns import Turns


def other(turns: Turns, did: list[str]) -> threading.Thread:
    def take() -> None:
        with turns.taken():
            did.append("other")

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    return thread


def test_one_after_the_other() -> None:
    turns, did = Turns(patience_s=60), list[str]()
    with turns.taken():
        thread = other(turns, did)
        thread.join(0.1)  # as long as it would have had
        did.append("mine")
    thread.join()
    assert did == ["mine", "other"]


def test_what_takes_long_keeps_nobody_waiting() -> None:
    turns, did = Turns(patience_s=0.001), list[str]()
    with turns.taken():
        other(turns, did).join()
        assert did == ["other"]
        assert turns._lock.locked(), "who lost patience has no turn to give back"
    assert not turns._lock.locked()


def test_nobody_waits_for_what_takes_long_already() -> None:
    turns, did = Turns(patience_s=60), list[str]()
    with turns.taken():
        turns._begun -= 60
        other(turns, did).join(30)
        assert did == ["other"]


def test_a_failure_ends_the_turn() -> None:
    turns, did = Turns(patience_s=60), list[str]()
    with pytest.raises(ValueError, match="bad"), turns.taken():
        raise ValueError("bad")
    other(turns, did).join(30)
    assert did == ["other"]
