"""The same agent on our transport, in our worker: a stage that does nothing. Not a peer, but beside one."""

from __future__ import annotations

import time
from collections.abc import Sequence

from benchmarks.counting import Counting
from streamer.settings import HttpSettings, Settings
from streamer.stage import Batch, Outputs
from streamer.worker import run


class _Nothing:
    name = "embed"
    topics = ("tweets",)

    def __init__(self, counting: Counting) -> None:
        self._counting = counting

    def open(self) -> None:
        """Nothing to open."""

    def process(self, batches: Sequence[Batch]) -> Outputs:
        """Count."""
        self._counting.took(sum(len(batch.records) for batch in batches), time.perf_counter())
        return Outputs()

    def close(self) -> None:
        """Nothing to close."""


def main() -> None:
    """Work until killed."""
    settings = Settings.load()
    settings = settings.model_copy(update={"http": HttpSettings(port=0), "log_level": "warning"})
    run(settings, [_Nothing(Counting(Settings.load()))])


if __name__ == "__main__":
    main()
