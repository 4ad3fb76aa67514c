"""Python loops compiled to machine code by numba, once for a machine: later processes load them from disk.

Knows nothing of what is computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., object])


def compiled(function: F) -> F:
    """`function`, compiled when it is first called, run without the GIL.

    Sums may be taken in another order than written (that is what lets them use wide registers), but always
    in the same one; NaN and infinity keep their meaning.
    """
    options = {"reassoc", "contract", "nsz", "arcp"}
    return cast(F, numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=options)(function))
