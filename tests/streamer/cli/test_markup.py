"""What comes from outside is shown as it is, also where it looks like markup."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import TopicPartition
from rich.console import Console

from models.events import Prediction
from streamer.cli.console import Output
from streamer.cli.subscribe import _show, _table
from streamer.client.dead_letters import DeadLetter
from streamer.settings import Settings
from tests.streamer.cli.conftest import Command


def prediction(user_id: str) -> Prediction:
    return Prediction(
        id="i", tweet_id="[/t]", user_id=user_id, author_id="[bold]a", retweet=0.5, model="m",
        cold=True, created_at=1, scored_at=2,
    )  # fmt: skip


@pytest.fixture
def out() -> Output:
    out = Output()
    out.console = Console(file=io.StringIO(), width=200)
    return out


def shown(out: Output) -> str:
    file = out.console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_ids_in_lines(out: Output) -> None:
    batches = [[prediction("[/x]"), prediction("[red]y[/red]")]]
    assert list(_show(iter(batches), Settings(), out)) == batches
    assert "tweet [/t]  user [/x]  retweet" in shown(out)
    assert "user [red]y[/red]  retweet" in shown(out)


def test_ids_in_the_table(out: Output) -> None:
    out.say(_table(deque([prediction("[/x]")]), "from [/nowhere]"))
    for text in ("[/t]", "[/x] (cold)", "[bold]a", "from [/nowhere]"):
        assert text in shown(out)


def test_next_steps(out: Output) -> None:
    out.next_step("streamer train a[/b]")
    assert shown(out) == "next: streamer train a[/b]\n"


def test_dead_letters(streamer: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their headers may be anybody's."""
    letter = DeadLetter(
        reason="[/r]", error="[/e]", topic="[/t]", partition=1, offset=2, attempts=1, truncated=None, at=0,
        key=b"[/k]", value=b"[/v]", position=TopicPartition("dead-letters", 0), position_offset=0,
        replayed=True,
    )  # fmt: skip

    def letters(*args: Any, **options: Any) -> Iterator[DeadLetter]:
        yield letter

    monkeypatch.setattr("streamer.client.dead_letters.list_letters", letters)
    ran = streamer("dead-letters", "list")
    assert ran.code == 0
    assert "1 [/r]" in ran.stdout


def test_paths(streamer: Command, tmp_path: Path) -> None:
    folder = tmp_path / "a[" / "b]"
    folder.mkdir(parents=True)
    assert str(folder) in streamer("schemas", "--out", folder).stdout
    assert str(folder) in streamer("schemas", "--out", folder, "--check").stdout
