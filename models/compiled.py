"""Python loops compiled to machine code by numba, once for a machine: later processes load them from disk.

Knows nothing of what is computed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from numba.core.compiler import Compiler

logger = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., object])


class _Apart(Compiler):
    """Tells LLVM that no argument is written to by way of another, as numba itself does for parallel loops.

    It else looks at every start of a loop whether any two overlap: for a loop of 64 numbers and nine arrays
    that took longer than the loop (products of [1000, 64] and [64, 64]: 177 us, so 100).
    """

    def define_pipelines(self) -> Any:
        self.state.flags.noalias = True
        return super().define_pipelines()  # type: ignore[no-untyped-call]


def compiled(function: F) -> F:
    """`function`, compiled when it is first called, run without the GIL.

    An array that it writes to shares no memory with any other argument, and it returns none that it was
    given.

    Sums may be taken in another order than written (that is what lets them use wide registers), but always
    in the same one; NaN and infinity keep their meaning.
    """
    options = {"reassoc", "contract", "nsz", "arcp"}
    dispatcher: Any = numba.njit(
        cache=True, nogil=True, error_model="numpy", fastmath=options, pipeline_class=_Apart
    )(function)
    _distrust(dispatcher._cache)
    return cast(F, dispatcher)


def _distrust(cache: Any) -> None:
    """Compile anew where the files on disk cannot be read: after a loss of power they may be empty, and numba
    would raise at every start what pickle says of them.
    """
    load = cache.load_overload

    def load_if_whole(*wanted: Any) -> Any:
        try:
            return load(*wanted)
        except Exception as error:  # pickle raises anything
            logger.warning("%s cannot be read (%s): compiling anew", cache.cache_path, error)
            cache.flush()
            return None

    cache.load_overload = load_if_whole
