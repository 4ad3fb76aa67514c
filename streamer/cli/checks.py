"""What `streamer doctor` looks at, one function each: what was found, and how to mend it.

Knows nothing of how findings are shown. No function raises: a check that fails is a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

from streamer.partition_counts import MEND, uneven
from streamer.settings import Settings, SettingsError

Status = Literal["ok", "warning", "broken"]


@dataclass(frozen=True)
class Finding:
    """`mend` is empty when nothing has to be."""

    what: str
    status: Status
    detail: str
    mend: str = ""


def kafka(settings: Settings) -> Iterator[Finding]:
    """The broker, and the topics on it."""
    from streamer.client import topic_settings, topics
    from streamer.client.connection import ClientError, admin_client

    try:
        with admin_client(settings) as admin:
            nodes = len(admin.describe_cluster()["brokers"])
            counts = topics.existing(admin, settings, topics.TOPICS)
            losses = topic_settings.losses(
                settings.kafka, topic_settings.configs(admin, settings.kafka, counts)
            )
    except ClientError as error:
        yield Finding(
            "kafka",
            "broken",
            str(error).split("; ")[0],
            "docker compose up -d kafka (or `make kafka`), or point kafka.bootstrap at one that runs",
        )
        return
    yield Finding("kafka", "ok", f"{nodes} broker{'s' * (nodes != 1)} at {settings.kafka.bootstrap}")
    if missing := [settings.kafka.topic(name) for name in topics.TOPICS if name not in counts]:
        yield Finding("topics", "broken", f"missing: {', '.join(missing)}", "streamer topics create")
    elif problem := uneven(settings.kafka, counts):
        yield Finding("topics", "broken", problem, MEND)
    else:
        yield Finding("topics", "ok", f"{len(counts)} topics of {settings.kafka.partitions} partitions")
    for name, (problem, setting) in losses.items():
        yield Finding(
            f"topic {name}",
            "warning",
            problem,
            f"kafka-configs.sh --bootstrap-server {settings.kafka.bootstrap} --alter --topic {name} "
            f"--add-config {setting}",
        )


def redis(settings: Settings) -> Iterator[Finding]:
    """Redis: reachable, new enough, taking writes, and not about to forget things."""
    from redis import Redis, RedisCluster, RedisError
    from redis.backoff import NoBackoff
    from redis.exceptions import RedisClusterException
    from redis.retry import Retry

    from streamer.stores import writable

    where = settings.redis.address
    try:
        config = settings.redis.redis_config() | {"retry": Retry(NoBackoff(), 0)}
    except SettingsError as error:
        yield Finding("redis", "broken", str(error), "see redis in ops/streamer.toml")
        return
    try:
        client: Any = (RedisCluster if settings.redis.cluster else Redis).from_url(**config)
        with closing(client):
            masters = (
                [client.get_redis_connection(node) for node in client.get_primaries()]
                if settings.redis.cluster
                else [client]
            )
            answers = [master.info() for master in masters]
            versions = {str(answer["redis_version"]) for answer in answers}
            policies = {str(answer.get("maxmemory_policy", "noeviction")) for answer in answers}
            limited = any(int(answer.get("maxmemory", 0)) for answer in answers)
            size = sum(master.dbsize() for master in masters)
            refused = writable.refusal(client)
    except (RedisError, RedisClusterException, OSError) as error:
        yield Finding(
            "redis",
            "broken",
            f"{where}: {error}",
            "docker compose up -d redis, or point redis.url at one that runs (and check its password)",
        )
        return
    version = ", ".join(sorted(versions))
    if min(tuple(map(int, v.split(".")[:2])) for v in versions) < (6, 2):
        yield Finding("redis", "broken", f"version {version} at {where} is too old", "use Redis 7.0 or later")
    elif refused is not None:
        yield Finding("redis", "broken", f"{where} takes no writes: {refused}", writable.mend(refused))
    else:
        yield Finding("redis", "ok", f"version {version} at {where}, {size:,} keys")
    if limited and policies - {"noeviction", "volatile-ttl", "volatile-lru", "volatile-lfu"}:
        yield Finding(
            "redis memory",
            "broken",
            f"maxmemory-policy is {', '.join(sorted(policies))}: audiences and histories may vanish",
            "CONFIG SET maxmemory-policy volatile-ttl (drops tweet vectors first) or noeviction",
        )
    else:
        limit = f"limited, {', '.join(sorted(policies))}" if limited else "no limit set"
        yield Finding("redis memory", "ok", f"maxmemory: {limit}")


def bundle(settings: Settings) -> Iterator[Finding]:
    """The bundle: there, whole, and of this release."""
    if settings.bundle is None:
        yield Finding(
            "bundle",
            "broken",
            "no bundle is set",
            "streamer train LOG --out bundle, then STREAMER_BUNDLE=bundle",
        )
        return
    from models.bundle import Bundle, BundleError

    try:
        found = Bundle.from_pretrained(settings.bundle)
    except BundleError as error:
        yield Finding(
            "bundle", "broken", str(error), "streamer train LOG --out bundle, then STREAMER_BUNDLE=bundle"
        )
        return
    heads = ", ".join(found.config.heads)
    yield Finding("bundle", "ok", f"{settings.bundle}: {found.fingerprint}, heads {heads}")


def device(settings: Settings) -> Iterator[Finding]:
    """Where the model would run, and in which arithmetic."""
    import torch

    from models.devices import DeviceError, pick_device
    from models.text.numerics import require

    try:
        found = pick_device(settings.device)
        require(settings.numerics, found)
    except DeviceError as error:
        detail, _, mend = str(error).partition("; ")
        yield Finding("device", "broken", detail, mend)
        return
    if found.type == "cuda":
        yield Finding("device", "ok", f"{torch.cuda.get_device_name(found)}, torch {torch.__version__}")
        return
    threads = torch.get_num_threads()
    yield Finding("device", "ok", f"CPU, {threads} thread{'s' * (threads != 1)}, torch {torch.__version__}")


#: In the order in which things are needed.
CHECKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (kafka, redis, bundle, device)
