"""How many cores there are to compute on."""

from __future__ import annotations

import os


def cores() -> int:
    """Cores that this process may run on: `taskset`, or a container's cpuset, may leave it some of them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
