"""The processes that train together: one, or as many as `torchrun` or `accelerate launch` started.

All of them run the same code on the same files; the first one writes and reports. Who talks to whom, and over
what, is accelerate's. Knows nothing of networks, data sets or checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any, Final, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs, gather_object
from torch import Tensor, nn

from models.cores import cores
from models.devices import pick_device

T = TypeVar("T")

#: How long the others wait for the first process: it may replay a log for hours. (10 minutes with NCCL.)
_PATIENCE: Final = timedelta(days=7)


class Processes:
    """`count` processes, of which this one is number `index` and computes on `device`."""

    def __init__(self, device: str = "auto") -> None:
        """Raises DeviceError."""
        alone = pick_device(device)
        self._accelerator = Accelerator(
            cpu=device == "cpu" or not torch.cuda.is_available(),
            kwargs_handlers=[
                InitProcessGroupKwargs(timeout=_PATIENCE),
                # Which parameters a batch reaches depends on the recipe. Buffers are fixed before training.
                DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False),
            ],
        )
        self.count: int = self._accelerator.num_processes
        self.index: int = self._accelerator.process_index
        self.first = self.index == 0
        #: Alone it is the caller's choice (`cuda:1`); otherwise a GPU for each process.
        self.device: torch.device = self._accelerator.device if self.count > 1 else alone

    def seed(self, seed: int) -> None:
        """Let each process draw its own random numbers, the same every time."""
        torch.manual_seed(seed * self.count + self.index)

    def threads(self, wanted: int) -> int:
        """Torch threads for each process, where `wanted` is 0: its share of the cores."""
        return wanted or max(cores() // self.count, 1)

    @contextmanager
    def first_before_others(self) -> Iterator[None]:
        """The first process goes through the block alone, then all others."""
        with self._accelerator.main_process_first():
            yield

    def wait(self) -> None:
        """Wait until all are here."""
        self._accelerator.wait_for_everyone()

    def together(self, model: nn.Module) -> nn.Module:
        """The model, its gradients averaged over all processes."""
        prepared: nn.Module = self._accelerator.prepare_model(model, device_placement=False)
        return prepared

    def apart(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Within the block, gradients of what came from `together` stay here and add up."""
        held: AbstractContextManager[Any] = self._accelerator.no_sync(model)
        return held if self.count > 1 else nullcontext()

    def gather(self, value: T) -> list[T]:
        """Everybody's value, in the order of the processes, to everybody."""
        values: list[T] = gather_object([value])
        return values

    def sum(self, value: Tensor) -> Tensor:
        """The sum of everybody's tensors."""
        total: Tensor = self._accelerator.reduce(value, "sum")
        return total
