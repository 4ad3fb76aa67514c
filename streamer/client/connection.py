"""Connections to Kafka, and every failure of one as a single line that says what to do.

Knows nothing of topics or of what is sent.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from kafka import KafkaConsumer, KafkaProducer
from kafka import errors as kafka_errors
from kafka.admin import KafkaAdminClient
from kafka.net.compat import KafkaNetClient

from streamer.errors import StreamerError
from streamer.settings import Settings

#: Longest wait for the first answer of a broker. A person is looking at the screen.
CONNECT_TIMEOUT_MS = 6_000
#: Longest wait for an answer once connected.
REQUEST_TIMEOUT_MS = 30_000


class ClientError(StreamerError):
    """Something failed on Kafka's side; the message is one line: what, why, what to do."""


@contextmanager
def explained(settings: Settings) -> Iterator[None]:
    """Turn whatever kafka-python raises inside into `ClientError`."""
    # kafka-python logs each failed attempt to connect; the one line raised here says it all.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    where = f"Kafka at {settings.kafka.bootstrap}"
    try:
        yield
    except kafka_errors.KafkaConnectionError as error:
        raise ClientError(f"cannot reach {where}: {_reason(error)}; {_MEND}") from error
    except kafka_errors.KafkaTimeoutError as error:
        raise ClientError(f"{where} does not answer: {_reason(error)}; {_MEND}") from error
    except kafka_errors.SaslAuthenticationFailedError as error:
        raise ClientError(
            f"{where} refused the login: {_reason(error)}; check kafka.sasl_username and kafka.sasl_password"
        ) from error
    except kafka_errors.AuthorizationError as error:
        raise ClientError(
            f"{where} does not allow this user to do that: {_reason(error)}; ask for the ACL"
        ) from error
    except kafka_errors.UnknownTopicOrPartitionError as error:
        raise ClientError(
            f"{where} has no such topic: {_reason(error)}; create it with `streamer topics create`"
        ) from error
    except kafka_errors.KafkaError as error:
        raise ClientError(f"{where}: {_reason(error)}") from error


_MEND = "start it, or set kafka.bootstrap (STREAMER_KAFKA__BOOTSTRAP); `streamer doctor` looks closer"


def _reason(error: Exception) -> str:
    text = str(error).strip().splitlines()
    name = type(error).__name__
    return text[0].removeprefix(f"{name}: ") if text else name


def _config(settings: Settings) -> dict[str, Any]:
    _require_someone_there(settings)
    return {
        **settings.kafka.kafka_python_config(),
        "client_id": "streamer-cli",
        "bootstrap_timeout_ms": CONNECT_TIMEOUT_MS,
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
    }


def made(kind: Callable[..., Any], **config: Any) -> Any:
    """A kafka-python client of this kind; should its constructor fail, nothing is left of it.

    kafka-python 3.0 would leave sockets, and a thread that goes on connecting.
    """
    networks: list[KafkaNetClient] = []

    def network(**network_config: Any) -> KafkaNetClient:
        networks.append(KafkaNetClient(**network_config))
        return networks[-1]

    try:
        return kind(**config, kafka_client=network)
    except BaseException:
        for one in networks:
            one.close()
        raise


def _require_someone_there(settings: Settings) -> None:
    """Raise `ClientError` at once when nobody listens: kafka-python would try again and again first."""
    reason: OSError | None = None
    for server in settings.kafka.servers:
        host, _, port = server.rpartition(":") if ":" in server else (server, "", "9092")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_MS / 1000):
                return
        except ValueError:
            raise ClientError(f"kafka.bootstrap: {server!r} is no host:port") from None
        except OSError as error:
            reason = error
    why = getattr(reason, "strerror", None) or reason
    raise ClientError(f"cannot reach Kafka at {settings.kafka.bootstrap}: {why}; {_MEND}")


@contextmanager
def admin_client(settings: Settings) -> Iterator[KafkaAdminClient]:
    """An admin client while the context lasts. Raises `ClientError`."""
    with explained(settings):
        admin = made(KafkaAdminClient, **_config(settings))
        try:
            yield admin
        finally:
            admin.close()


@contextmanager
def raw_producer(settings: Settings, **config: Any) -> Iterator[KafkaProducer]:
    """An idempotent producer, acks=all, murmur2 partitioner. Raises `ClientError`.

    What was not flushed inside is dropped on leaving, so that Ctrl-C leaves at once.
    """
    with explained(settings):
        producer = made(
            KafkaProducer,
            **{
                **_config(settings),
                "acks": "all",
                "enable_idempotence": True,
                "linger_ms": 5,
                "batch_size": 128 * 2**10,
                "max_request_size": 8 * 2**20,
                "max_block_ms": REQUEST_TIMEOUT_MS,
                "compression_type": settings.kafka.codec,
                "allow_auto_create_topics": False,
                "metrics_enabled": False,
                **config,
            },
        )
        try:
            yield producer
        finally:
            with suppress(kafka_errors.KafkaTimeoutError):
                producer.close(timeout=0)


@contextmanager
def raw_consumer(settings: Settings, group: str | None = None, **config: Any) -> Iterator[KafkaConsumer]:
    """A consumer that commits only when told and never joins a group. Raises `ClientError`."""
    with explained(settings):
        consumer = made(
            KafkaConsumer,
            **{
                **_config(settings),
                "group_id": group,
                "enable_auto_commit": False,
                "auto_offset_reset": "earliest",
                "isolation_level": settings.kafka.isolation_level,
                "fetch_max_wait_ms": min(settings.kafka.fetch_max_wait_ms, REQUEST_TIMEOUT_MS // 2),
                "max_partition_fetch_bytes": settings.kafka.max_partition_fetch_bytes,
                "max_poll_records": settings.kafka.max_batch_records,
                "allow_auto_create_topics": False,
                "metrics_enabled": False,
                **config,
            },
        )
        try:
            yield consumer
        finally:
            consumer.close(autocommit=False)
