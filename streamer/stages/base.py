"""What every stage does alike: open and close what it works on, and say how it is."""

from __future__ import annotations

from typing import ClassVar

from streamer.settings import Settings
from streamer.stages.backend import Backend


class BackedStage:
    """A stage on a backend. Subclasses name themselves and their topics, and define `process`."""

    name: ClassVar[str]
    topics: ClassVar[tuple[str, ...]]

    def __init__(self, settings: Settings, backend: Backend) -> None:
        self.settings = settings
        self.backend = backend

    @property
    def shards(self) -> int:
        """How many parts an audience has."""
        return self.settings.kafka.partitions

    def open(self) -> None:
        """See `Stage.open`."""
        self.backend.open()

    def close(self) -> None:
        """See `Stage.close`."""
        self.backend.close()

    def healthy(self) -> str | None:
        """See `Healthy.healthy`."""
        return self.backend.healthy()

    def interrupt(self) -> None:
        """See `Interruptible.interrupt`."""
        self.backend.interrupt()
