"""A worker with one tiny stage, run as a process of its own: `python -m tests.streamer.sample_worker`.

The stage copies `tweets` to `predictions`. Values steer it: `crash` raises, `sleep:S` blocks its thread.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Literal

from streamer.settings import Settings, SettingsError
from streamer.stage import Batch, Group, Outputs
from streamer.worker import run


class Copy:
    """Copies values with their key, and answers for the time each batch was published."""

    name = "copy"
    topics: tuple[str, ...] = ("tweets",)
    perishable: Literal[True] = True

    def open(self) -> None:
        if "refuse-to-open" in sys.argv:
            raise ValueError("the model is broken")

    def process(self, batches: Sequence[Batch]) -> Outputs:
        records = [record for batch in batches for record in batch.records]
        for record in records:
            if record.value == b"crash" and "forgive" not in sys.argv:
                raise RuntimeError("told to crash")
            if record.value is not None and record.value.startswith(b"sleep:"):
                time.sleep(float(record.value[6:]))
        keys, values = [r.key for r in records], [r.value for r in records]
        return Outputs(
            [Group("predictions", keys, values)], origins=[batch.records[0].timestamp for batch in batches]
        )

    def close(self) -> None:
        """Nothing was taken."""


if __name__ == "__main__":
    try:
        settings = Settings.load()
    except SettingsError as error:
        sys.exit(str(error))
    sys.exit(run(settings, [Copy()]))
