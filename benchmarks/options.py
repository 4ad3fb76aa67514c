"""How a run of the benchmarks is asked for. Knows nothing of what is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """`rounds` are paired, interleaved runs of which medians are taken; `scale` multiplies every workload's
    size; `seconds` is how long what must be sustained is sustained. `say` tells people where it stands.
    """

    rounds: int = 3
    scale: float = 1.0
    seconds: float = 20.0
    say: Callable[[str], None] = print

    def sized(self, count: int, least: int = 1) -> int:
        """A workload's size, scaled."""
        return max(round(count * self.scale), least)
