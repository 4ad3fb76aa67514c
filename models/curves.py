"""Curves of a training for TensorBoard: losses, held-out figures, learning rate, speed.

Knows nothing of what the figures mean.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from torch.utils.tensorboard import SummaryWriter


class Curves:
    """Event files in a folder; nothing without one. A context manager."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._writer: SummaryWriter | None = None

    def begin(self, step: int) -> None:
        """A training starts or goes on here: what the folder has of this step and later counts no more."""
        if self._folder is not None:
            # TensorBoard reads files in the order of their names, which have the second they were begun in.
            while any(self._folder.glob(f"events.out.tfevents.{int(time.time())}.*")):
                time.sleep(0.05)
            self._writer = SummaryWriter(str(self._folder), purge_step=step)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Values at a step, by name, such as `train/loss`."""
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        """Let nothing be lost by a kill."""
        if self._writer is not None:
            self._writer.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()
