"""A runner with its loops going, as a stage's app has them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from streamer.runner import StageRunner


@asynccontextmanager
async def at_work(runner: StageRunner) -> AsyncIterator[list[asyncio.Task[None]]]:
    """`process`, `publish` and `settle`, as tasks, for as long as the context lasts."""
    loops = [asyncio.create_task(loop) for loop in (runner.process(), runner.publish(), runner.settle())]
    try:
        yield loops
    finally:
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
