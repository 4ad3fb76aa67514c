"""The URL of a Redis, which may carry a password: what of it goes to redis-py, and what may be shown.

Knows nothing of where the URL comes from. Errors do not repeat it.
"""

from __future__ import annotations

from urllib.parse import urlsplit


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


def unusable_options(url: str) -> list[str]:
    """Names of options that redis-py does not have, or not with these values. Does not touch the network."""
    base, _, query = url.partition("?")
    options = [option for option in query.split("&") if option]
    return [option.partition("=")[0] for option in options if not _usable(f"{base}?{option}")]


def _usable(url: str) -> bool:
    import redis

    try:
        redis.Redis.from_url(url).connection_pool.make_connection()  # which does not connect
    except (TypeError, ValueError, redis.RedisError):
        return False
    return True
