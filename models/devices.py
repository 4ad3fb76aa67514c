"""Which device, onto it and back. Knows nothing of what runs there."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

import torch
from torch import Tensor

Tag = TypeVar("Tag")

_NAMES: Final = re.compile(r"cpu|cuda(:(?P<gpu>0|[1-9][0-9]{0,2}))?")
#: Results under way at a time: of packs of 65,536 tokens through a BERT-base, a third of a second's.
_AHEAD: Final = 16


class DeviceError(Exception):
    """There is no such device here; the message is one line that says why."""


def pick_device(name: str) -> torch.device:
    """`auto` is the GPU where there is one. Raises DeviceError where `name` is none to compute on here."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if gpus else "cpu")
    found = _NAMES.fullmatch(name)
    if found is None:
        raise DeviceError(f"no device is called {name!r}; choose auto, cpu, cuda or cuda:N")
    if name == "cpu":
        return torch.device(name)
    if not gpus:
        raise DeviceError(
            f"device {name}: torch sees no GPU; choose auto or cpu, or install a CUDA build of torch"
        )
    if int(found["gpu"] or 0) >= gpus:
        raise DeviceError(f"device {name}: torch sees {gpus} GPUs; count from cuda:0")
    return torch.device(name)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """From the host; without waiting for it, or for what is under way there, if the device is a GPU."""
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def returned(parts: Iterable[tuple[Tag, Tensor]], device: torch.device) -> Iterator[tuple[Tag, Tensor]]:
    """The same on the host, in order; a GPU goes on with the next ones, of which some are asked for ahead."""
    if device.type == "cpu":
        yield from parts
        return
    copies: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    waiting: deque[tuple[Tag, Tensor, torch.cuda.Event]] = deque()
    for tag, part in parts:
        copies.wait_stream(torch.cuda.current_stream(device))
        part.record_stream(copies)
        with torch.cuda.stream(copies):
            waiting.append((tag, part.to("cpu", non_blocking=True), copies.record_event()))
        if len(waiting) > _AHEAD:
            yield _arrived(*waiting.popleft())
    while waiting:
        yield _arrived(*waiting.popleft())


def _arrived(tag: Tag, part: Tensor, done: torch.cuda.Event) -> tuple[Tag, Tensor]:
    done.synchronize()
    return tag, part


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Where torch's random numbers stand, on the CPU and on this device."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_random_state(states: dict[str, Tensor], device: torch.device) -> None:
    """Go on from there."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
