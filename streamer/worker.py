"""Runs a worker in this process until it is told to stop or fails: `streamer worker`.

Exit status: 0 after SIGTERM or SIGINT, 1 when something failed, 70 when the watchdog ended it. Knows nothing
of the command line's options.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import faust

from streamer import event_loop, logs
from streamer.app import create_app
from streamer.errors import StreamerError
from streamer.settings import Settings
from streamer.stage import Stage

logger = logging.getLogger(__name__)


class _Worker(faust.Worker):
    def _crash(self, reason: BaseException) -> None:
        """Keep the first reason: agents that are cancelled because of it count as crashed too."""
        if self._crash_reason is None:
            super()._crash(reason)


def run(settings: Settings, stages: Sequence[Stage] | None = None) -> int:
    """Work until a signal or a failure; the exit status. Raises nothing."""
    logs.setup(settings.log_level)
    event_loop.install()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        worker = _Worker(
            create_app(settings, stages),
            loop=loop,
            override_logging=False,
            redirect_stdouts=False,
            quiet=True,
        )
        worker.spinner = None
        worker.execute_from_commandline()
    except SystemExit as exit_:
        if not exit_.code:
            return 0
        logger.critical("worker failed: %s", _describe(exit_.__context__))
    except StreamerError as error:
        logger.critical("worker cannot start: %s", error)
    return 1


def _describe(error: BaseException | None) -> str:
    if isinstance(error, StreamerError):
        return str(error)
    return f"{type(error).__name__}: {error}"
