from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

if TYPE_CHECKING:
    from streamer.local.kafka import LocalKafka


@dataclass(frozen=True)
class Ran:
    """How a command ended, and what it wrote."""

    code: int
    stdout: str
    stderr: str

    @property
    def objects(self) -> list[Any]:
        """Standard output as JSON lines: fails when there is anything else."""
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def object(self) -> Any:
        """The one JSON object on standard output."""
        [found] = self.objects
        return found


Command = Callable[..., Ran]


def command(**environment: str) -> Command:
    """Run `streamer` with these settings; the developer's own do not count."""

    def run(*args: object) -> Ran:
        from streamer.cli import cli

        result = CliRunner().invoke(cli, [str(arg) for arg in args], env=environment)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("STREAMER_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def streamer() -> Command:
    """`streamer` with nobody to talk to."""
    return command(STREAMER_KAFKA__BOOTSTRAP="127.0.0.1:9", STREAMER_REDIS__URL="redis://127.0.0.1:9/0")


@pytest.fixture
def online(kafka: LocalKafka, topic_prefix: str) -> Command:
    """`streamer` with a real Kafka, and topics and groups of this test's own."""
    return command(
        STREAMER_KAFKA__BOOTSTRAP=kafka.bootstrap,
        STREAMER_KAFKA__TOPIC_PREFIX=topic_prefix,
        STREAMER_KAFKA__GROUP_PREFIX=topic_prefix,
        STREAMER_KAFKA__PARTITIONS="3",
        STREAMER_REDIS__URL="redis://127.0.0.1:9/0",
    )
