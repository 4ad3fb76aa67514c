"""A peer may be slow to start once; our worker may not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest

from benchmarks import rig
from benchmarks.rig import Silent, running


@pytest.mark.parametrize(
    ("peer", "silent", "starts"), [(True, 1, 2), (True, 2, 2), (False, 1, 1), (True, 0, 1)]
)
def test_a_peer_that_does_not_answer_is_started_once_more(
    monkeypatch: pytest.MonkeyPatch, peer: bool, silent: int, starts: int
) -> None:
    begun, ended = list[int](), list[int]()

    @contextmanager
    def warm(*_: object) -> Iterator[None]:
        begun.append(len(begun))
        try:
            if len(begun) <= silent:
                raise Silent(peer, "not an answer")
            yield
        finally:
            ended.append(len(begun))

    monkeypatch.setattr(rig, "_warm", warm)
    nothing: Any = None
    with pytest.raises(Silent) if silent == starts else nullcontext(), running(nothing):
        assert len(begun) == starts
        assert len(ended) == silent
    assert len(begun) == len(ended) == starts


def test_what_fails_at_work_is_not_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = list[int]()

    @contextmanager
    def warm(*_: object) -> Iterator[None]:
        begun.append(1)
        yield

    monkeypatch.setattr(rig, "_warm", warm)
    nothing: Any = None
    with pytest.raises(Silent), running(nothing):
        raise Silent(True, "no predictions")
    assert len(begun) == 1
