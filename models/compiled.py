"""Python loops compiled to machine code by numba, once for a machine: later processes load them from disk.

Knows nothing of what is computed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

logger = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., object])


def compiled(function: F) -> F:
    """`function`, compiled when it is first called, run without the GIL.

    Sums may be taken in another order than written (that is what lets them use wide registers), but always
    in the same one; NaN and infinity keep their meaning.
    """
    options = {"reassoc", "contract", "nsz", "arcp"}
    dispatcher: Any = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=options)(function)
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
