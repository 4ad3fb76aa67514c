"""Logging of a worker: one line per message, on standard error, and no flood while a broker is away."""

from __future__ import annotations

import logging
import time

from streamer.errors import StreamerError

#: Libraries whose INFO is about their own insides.
_QUIET = ("aiokafka", "faust", "mode", "asyncio", "aiohttp", "transformers")
#: Logs every request whole at DEBUG, that of SASL PLAIN with its password.
_TELLTALE = "aiokafka.conn"
#: While a broker is away aiokafka reports 300 failures a second. `streamer.lag` says what has happened; these
#: only say how it showed.
_REPEAT_S = 60.0


class _Once(logging.Filter):
    """Lets a library's message through once per `_REPEAT_S`, and counts what it held back."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log it."""
        if not record.name.startswith(_QUIET):
            return True
        if record.exc_info and isinstance(record.exc_info[1], StreamerError):
            return False  # `streamer.worker` says it last, in one line
        key = (record.name, str(record.msg))
        last, held = self._seen.get(key, (0.0, 0))
        now = time.monotonic()
        if now - last < _REPEAT_S:
            self._seen[key] = (last, held + 1)
            return False
        self._seen[key] = (now, 0)
        if held:
            record.msg = f"{record.msg} (and {held} times more)"
        return True


def setup(level: str) -> None:
    """Log to standard error from `level` (`debug`, `info`, `warning`, `error`) up."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-8s %(name)s: %(message)s"))
    handler.addFilter(_Once())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.DEBUG if level == "debug" else logging.WARNING)
    logging.getLogger(_TELLTALE).setLevel(logging.INFO if level == "debug" else logging.WARNING)
    logging.captureWarnings(True)
