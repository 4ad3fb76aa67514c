from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from unittest.mock import Mock

import pytest
from aiokafka.conn import AIOKafkaConnection
from aiokafka.protocol.admin import SaslAuthenticateRequest

from streamer import logs
from streamer.errors import StreamerError


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    logging.captureWarnings(False)
    root.handlers[:], root.level = before[0], before[1]
    for name in ("aiokafka", "aiokafka.conn", "faust", "mode", "asyncio", "aiohttp", "transformers"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def test_a_library_repeats_itself_only_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("streamer.logs.time.monotonic", lambda: now[0])
    logs.setup("info")
    library = logging.getLogger("aiokafka.consumer.fetcher")
    for _ in range(40):
        library.error("Failed fetch from %s", 1)
        now[0] += 1.5
    library.error("something else")
    library.error("Failed fetch from %s", 2)
    lines = [line.split(": ", 1)[1] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["Failed fetch from 1", "something else", "Failed fetch from 2 (and 39 times more)"]


def test_our_own_lines_are_all_there(capsys: pytest.CaptureFixture[str]) -> None:
    logs.setup("info")
    for _ in range(3):
        logging.getLogger("streamer.app").info("ready")
        logging.getLogger("faust.app").info("insides")
    err = capsys.readouterr().err
    assert err.count("ready") == 3
    assert "insides" not in err


def test_a_library_does_not_show_the_traceback_of_an_error_meant_for_people(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.setup("info")
    for error in (StreamerError("no topic"), ValueError("a bug")):
        logging.getLogger("mode.worker").error("Error: %r", error, exc_info=error)
    err = capsys.readouterr().err
    assert "no topic" not in err
    assert "\nValueError: a bug" in err


def test_debug_logs_no_password(capsys: pytest.CaptureFixture[str]) -> None:
    async def log_in() -> None:
        connection = AIOKafkaConnection("host", 9092)
        connection._versions, connection._writer = {36: (0, 0)}, Mock()
        connection.send(SaslAuthenticateRequest(b"\0user\0sesame"), expect_response=False)
        assert b"sesame" in connection._writer.write.call_args.args[0]

    for level in ("debug", "info"):
        logs.setup(level)
        asyncio.run(log_in())
        logging.getLogger("aiokafka.conn").info("Authenticated as %s via PLAIN", "user")
        logging.getLogger("aiokafka.client").debug("insides")
    err = capsys.readouterr().err
    assert "sesame" not in err
    assert err.count("via PLAIN") == err.count("insides") == 1
