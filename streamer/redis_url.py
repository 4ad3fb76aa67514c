"""The URL of a Redis, which may carry a password: what of it goes to redis-py, and what may be shown.

Knows nothing of where the URL comes from. Errors do not repeat it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote_plus, urlsplit

#: Options that are the user's to choose, with those of TLS (`ssl_…`). What the URL says outranks what we set:
#: others would change what our code relies on, such as how answers are read, who tries again when, and that
#: there is a connection for each of a worker's threads and one for notices (no `max_connections`).
_FREE: Final = {
    "db", "username", "password", "client_name", "lib_name", "lib_version", "health_check_interval",
    "socket_connect_timeout", "socket_keepalive", "socket_read_size", "socket_timeout",
}  # fmt: skip


def address(url: str) -> str:
    """`host:port`, or the path of a socket.

    Raises ValueError when it is not the URL of a Redis, or when a part of a password could be taken for
    something else: `/`, `?` and `#` end the login, so that an `@` after them tells of one cut in two.
    """
    if not url.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("`url` must start with redis://, rediss:// or unix://")
    try:
        parts = urlsplit(url)
        where = f"{parts.hostname or 'localhost'}:{parts.port or 6379}"
        whole = "@" not in parts.path + parts.query + parts.fragment
    except ValueError:  # its text repeats what was taken for a port
        whole = False
    if not whole:
        raise ValueError(
            "`url` cannot be read: write redis://:PASSWORD@HOST:PORT/DATABASE, and / ? # @ [ ] in user, "
            "password and options as %2F %3F %23 %40 %5B %5D; or set `password`"
        )
    return parts.path if parts.scheme == "unix" else where


def without_cluster(url: str) -> tuple[str, bool]:
    """The URL without our own option `cluster=true`, and whether it was there."""
    base, _, query = url.partition("?")
    options = [option for option in query.split("&") if option]
    rest = [option for option in options if option.lower() != "cluster=true"]
    return base + ("?" + "&".join(rest) if rest else ""), len(rest) < len(options)


def refused_options(url: str) -> str | None:
    """Which options cannot be used and why, without their values; None when all can.

    Does not touch the network.
    """
    options = list(_options(url))
    if wrong := [name for name, alone in options if not _usable(alone)]:
        return f"redis-py has no such option or value: correct or remove {', '.join(wrong)}"
    if fixed := [name for name, _ in options if name not in _FREE and not name.startswith("ssl_")]:
        return f"our code relies on its own choice of {', '.join(fixed)}: remove that from the URL"
    return None


def _options(url: str) -> Iterator[tuple[str, str]]:
    """The name of each option, and the URL with that option alone."""
    base, _, query = url.partition("?")
    for option in filter(None, query.split("&")):
        yield unquote_plus(option.partition("=")[0]), f"{base}?{option}"


def _usable(url: str) -> bool:
    import redis

    try:
        redis.Redis.from_url(url).connection_pool.make_connection()  # which does not connect
    except (AttributeError, TypeError, ValueError, redis.RedisError):  # the first for what is never text
        return False
    return True
