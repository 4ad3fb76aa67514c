"""The one settings object: typed, described, unknown keys refused.

Sources, strongest first: keyword arguments, environment (`STREAMER_KAFKA__BOOTSTRAP=...`), one TOML file
(`STREAMER_CONFIG` or `--config`), defaults. Knows nothing of what the values are used for, apart from
handing each client library its keyword arguments. Secrets are `SecretStr`: never in a repr or a log line.
"""

from __future__ import annotations

import os
import ssl
import tomllib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from streamer import redis_url
from streamer.errors import StreamerError
from streamer.settings_mistakes import described

ENV_PREFIX = "STREAMER_"
#: Names the TOML file; not itself a setting.
CONFIG_ENV = "STREAMER_CONFIG"

#: What was given is in no error: it may be a secret.
_STRICT = SettingsConfigDict(
    extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True
)

Seconds = Annotated[float, Field(gt=0)]


class SettingsError(StreamerError):
    """The settings are wrong. The message has one line per mistake: where, what, and what was given."""


class Group(BaseModel):
    """A table of settings."""

    model_config = _STRICT


def _secret(value: SecretStr | None, file: Path | None, what: str) -> str | None:
    """The secret itself, from the setting or from the file (its trailing newline dropped)."""
    if value is not None:
        return value.get_secret_value()
    if file is None:
        return None
    try:
        return file.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise SettingsError(f"{what}: cannot read {file}: {error.strerror}") from None


class KafkaSettings(Group):
    """Where Kafka is, how to log in, and how records are fetched, committed and sent."""

    bootstrap: str = "127.0.0.1:9092"
    """Brokers to ask first: `host:port`, several separated by commas."""
    topic_prefix: str = ""
    """Put before every topic name, so that several installations share a cluster."""
    group_prefix: str = "retweet-streamer."
    """Put before the stage's name to make its consumer group."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How to talk to the brokers."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    """How to log in, with one of the SASL protocols."""
    sasl_username: str | None = None
    """User to log in as."""
    sasl_password: SecretStr | None = None
    """That user's password."""
    sasl_password_file: Path | None = None
    """File with the password, instead of `sasl_password`."""
    ssl_cafile: Path | None = None
    """Certificate authorities to trust (PEM); the system's when not set."""
    ssl_certfile: Path | None = None
    """Our own certificate (PEM), when the brokers ask for one."""
    ssl_keyfile: Path | None = None
    """Private key of that certificate (PEM)."""
    fetch_max_wait_ms: int = Field(default=100, ge=1, le=30_000)
    """Longest the broker may hold an empty fetch open. Records arriving end the wait at once."""
    max_batch_records: int = Field(default=5_000, ge=1)
    """Most records one poll hands to a stage, over all its partitions."""
    max_partition_fetch_bytes: int = Field(default=4 * 2**20, ge=2**10)
    """Most bytes fetched per partition and request."""
    commit_interval_s: Seconds = 1.0
    """How often offsets are committed: bounds what is done again after a crash. Nothing is lost."""
    session_timeout_s: Seconds = 10.0
    """A worker silent for so long loses its partitions to the others."""
    max_poll_interval_s: Seconds = 300.0
    """A worker that takes longer than this over one batch loses its partitions."""
    outage_s: Seconds = 60.0
    """How long Kafka may stay away before the worker gives up and exits non-zero."""
    isolation_level: Literal["read_committed", "read_uncommitted"] = "read_committed"
    """Whether records of transactions that are open or were aborted are left out, or read too."""
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "lz4"
    """Compression of the records sent. Those who read them with kafka-python or kafkajs need its package."""
    max_send_batch_bytes: int = Field(default=512 * 2**10, ge=2**10, le=900_000)
    """Size of the record batches sent, before compression. Below the brokers' 1 MB `message.max.bytes`."""
    partitions: int = Field(default=4, ge=1, le=65_536)
    """Partitions of the topics we create; also the number of audience shards."""
    replication_factor: int = Field(default=1, ge=1)
    """Replicas of the topics we create."""
    api_version: tuple[int, int] | None = None
    """The broker's version, for the command line's client; librdkafka's mock broker needs `[2, 3]`."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.security_protocol.startswith("SASL") and not self.sasl_username:
            raise ValueError(f"{self.security_protocol} needs `sasl_username` and a password")
        if self.sasl_password is not None and self.sasl_password_file is not None:
            raise ValueError("set `sasl_password` or `sasl_password_file`, not both")
        if not self.servers:
            raise ValueError("`bootstrap` names no broker; write host:port")
        return self

    @property
    def servers(self) -> list[str]:
        """`bootstrap` as a list of `host:port`."""
        return [server.strip() for server in self.bootstrap.split(",") if server.strip()]

    @property
    def codec(self) -> str | None:
        """`compression`, as Python's clients ask for it."""
        return None if self.compression == "none" else self.compression

    def topic(self, name: str) -> str:
        """The topic's name on the broker."""
        return self.topic_prefix + name

    def group(self, stage: str) -> str:
        """The stage's consumer group."""
        return self.group_prefix + stage

    @property
    def password(self) -> str | None:
        """The SASL password. Raises `SettingsError` when its file cannot be read."""
        return _secret(self.sasl_password, self.sasl_password_file, "kafka.sasl_password_file")

    @cached_property
    def ssl_context(self) -> ssl.SSLContext | None:
        """A client context from the `ssl_*` files; None without TLS. Raises `SettingsError`."""
        if not self.security_protocol.endswith("SSL"):
            return None
        try:
            context = ssl.create_default_context(cafile=self.ssl_cafile)
            if self.ssl_certfile is not None:
                context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile)
        except OSError as error:
            raise SettingsError(f"kafka: cannot use the TLS files: {error}") from None
        return context

    def aiokafka_config(self) -> dict[str, Any]:
        """Connection keyword arguments of any aiokafka client."""
        config: dict[str, Any] = {
            "bootstrap_servers": self.servers,
            "security_protocol": self.security_protocol,
            "ssl_context": self.ssl_context,
        }
        if self.security_protocol.startswith("SASL"):
            config |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.sasl_username,
                "sasl_plain_password": self.password,
            }
        return config

    def kafka_python_config(self) -> dict[str, Any]:
        """Connection keyword arguments of any kafka-python client."""
        config = self.aiokafka_config()
        if self.api_version is not None:
            config["api_version"] = self.api_version
        return config


class RedisSettings(Group):
    """Where Redis is, how to log in, and how long things are kept."""

    url: str = Field(default="redis://127.0.0.1:6379/0", repr=False)  # it may carry a password
    """`redis://`, `rediss://` (TLS) or `unix://`; append `?cluster=true` for a Redis Cluster.
    redis-py's options for timeouts, connections, names and TLS may follow, and outrank the settings here."""
    password: SecretStr | None = None
    """Password, when not in the URL."""
    password_file: Path | None = None
    """File with the password, instead of `password`."""
    ssl_cafile: Path | None = None
    """Certificate authorities to trust (PEM) with `rediss://`; the system's when not set."""
    retry_s: Seconds = 60.0
    """How long Redis may stay away before the worker gives up and exits non-zero."""
    timeout_s: Seconds = 5.0
    """Longest wait for one answer, and for a connection."""
    tweet_ttl_s: int = Field(default=7 * 86_400, ge=0)
    """How long a tweet's vector is kept; 0 keeps it."""
    engaged_tweet_ttl_s: int = Field(default=90 * 86_400, ge=0)
    """How long it is kept once somebody engaged with the tweet: histories refer to it."""
    user_ttl_s: int = Field(default=0, ge=0)
    """How long a user's vector and history are kept after the last change; 0 keeps them."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        redis_url.address(self.url)
        if self.password is not None and self.password_file is not None:
            raise ValueError("set `password` or `password_file`, not both")
        return self

    @property
    def address(self) -> str:
        """What may be shown of `url`: `host:port`, or the socket's path."""
        return redis_url.address(self.url)

    @property
    def cluster(self) -> bool:
        """Whether `url` asks for a Redis Cluster (`?cluster=true`)."""
        return redis_url.without_cluster(self.url)[1]

    def redis_config(self) -> dict[str, Any]:
        """Keyword arguments of `redis.Redis.from_url` and `redis.RedisCluster.from_url`, `url` among them.

        Raises `SettingsError` when the password file cannot be read, or an option of `url` cannot be used.
        """
        url = redis_url.without_cluster(self.url)[0]
        if problem := redis_url.refused_options(url):
            raise SettingsError(f"redis.url: {problem}")
        config: dict[str, Any] = {
            "url": url,
            "socket_timeout": self.timeout_s,
            "socket_connect_timeout": self.timeout_s,
        }
        password = _secret(self.password, self.password_file, "redis.password_file")
        if password is not None:
            config["password"] = password
        if self.ssl_cafile is not None and self.url.startswith("rediss://"):
            config["ssl_ca_certs"] = str(self.ssl_cafile)
        return config


class PredictionSettings(Group):
    """What leaves on `predictions`."""

    format: Literal["pair", "columnar"] = "pair"
    """`pair`: a record per tweet and user. `columnar`: a record per tweet and partition, with columns."""
    min_probability: float = Field(default=0.0, ge=0.0, le=1.0)
    """Leave out users whose retweet probability is below this."""
    top_k: int = Field(default=0, ge=0)
    """Keep the k likeliest users of each tweet, shard and score request; 0 keeps all. An author's followers
    are one request for each shard, the users that a tweet names (`audience`) one for 4,096 in a shard."""


class FreshnessSettings(Group):
    """What is left out when there is too much: off by default, so that everything is handled however late.

    It concerns `tweets` (embed) and `score-requests` (score). Engagements, follows and users are never left
    out, because what is known of people would be wrong from then on. A tweet left out is scored for nobody
    and has no vector, so engagements with it count but do not shape their users' vectors. What is left out is
    counted in `streamer_records_skipped_total` and committed. Switch this off to fill Redis anew.
    """

    max_age_s: float = Field(default=0.0, ge=0)
    """Leave out records published longer ago than this, by their Kafka timestamp; 0 leaves out none."""
    drop_above: int = Field(default=0, ge=0)
    """Drop a partition's records while more than this many wait in it; 0 never does."""
    drop_below: int = Field(default=0, ge=0)
    """Once dropping, go on until no more than this many wait. Half of `drop_above` is a good value."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.drop_below > self.drop_above:
            raise ValueError("`drop_below` is more than `drop_above`: dropping would end before it begins")
        return self


class HttpSettings(Group):
    """Where `/metrics`, `/healthz` and `/readyz` are served."""

    host: str = "127.0.0.1"
    """Address to listen on; nothing but this machine by default."""
    port: int = Field(default=9464, ge=0, le=65_535)
    """Port; 0 takes a free one."""


class WatchdogSettings(Group):
    """When a worker that hangs is ended."""

    seconds: float = Field(default=120.0, ge=0)
    """Exit non-zero when records wait and none was processed for so long; 0 switches this off."""


class Settings(BaseSettings):
    """All settings. Build it with `Settings.load()`."""

    model_config = _STRICT | SettingsConfigDict(env_prefix=ENV_PREFIX, env_nested_delimiter="__")

    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    bundle: Path | None = None
    """Folder of the trained bundle."""
    device: str = "auto"
    """Where the model runs: `auto`, `cpu`, `cuda` or `cuda:N`."""
    numerics: Literal["auto", "fp32", "bf16", "int8"] = "auto"
    """Arithmetic of transformers that encode texts: `fp32`, `bf16`, `int8`, or `auto`, which takes the
    fastest of the device that keeps the vectors' cosine to float32 at 0.99 or more."""
    predictions: PredictionSettings = PredictionSettings()
    freshness: FreshnessSettings = FreshnessSettings()
    request_wait_s: float = Field(default=10.0, ge=0)
    """How long a score request waits for a tweet that has no vector yet, before it is a dead letter. With a
    `deadline` of its own, it waits until then, but for no longer than this or 60 s, whichever is more."""
    cache_mb: int = Field(default=256, ge=1)
    """Memory for what `score` keeps at hand of users and audiences, in MB; the rest is read from Redis, at
    three times the cost of a prediction. 256 are for 122,000 active users of the default model."""
    pace_ms: int = Field(default=10, ge=0, le=10_000)
    """Tweets that come within so many milliseconds, or three times what embedding takes (at most five times
    this), are embedded together; after a pause none waits. Else every few tweets pay for requests of their
    own."""
    http: HttpSettings = HttpSettings()
    watchdog: WatchdogSettings = WatchdogSettings()
    stages: Annotated[tuple[str, ...], NoDecode] = ()
    """Stages this worker runs (in the environment: separated by commas); all of them when empty."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe messages logged."""

    #: The TOML tables of the `load` in progress: pydantic-settings builds its sources inside the constructor.
    _tables: ClassVar[dict[str, Any]] = {}

    @field_validator("stages", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return (
            tuple(part.strip() for part in value.split(",") if part.strip())
            if isinstance(value, str)
            else value
        )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Keyword arguments over environment over the TOML file; no `.env`, no secrets folder."""
        return init_settings, env_settings, InitSettingsSource(settings_cls, cls._tables)

    @classmethod
    def load(cls, file: Path | str | None = None, **values: Any) -> Settings:
        """Read the settings. `file` goes before `STREAMER_CONFIG`; `values` before everything.

        Raises `SettingsError` with one line per mistake: unknown key, wrong type, unreadable file.
        """
        path = file or os.environ.get(CONFIG_ENV) or None
        _refuse_unknown_environment(os.environ)
        cls._tables = _read_toml(Path(path)) if path else {}
        try:
            return cls(**values)
        except ValidationError as error:
            raise SettingsError("\n".join(described(error, cls))) from None
        finally:
            cls._tables = {}


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"cannot read settings file {path}: {error.strerror}; ops/streamer.toml shows what to write"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {path} is not TOML: {error}") from None


def _refuse_unknown_environment(environment: Mapping[str, str]) -> None:
    """pydantic-settings checks the keys of a group but never sees a misspelt top-level name."""
    fields = {name.upper() for name in Settings.model_fields}
    unknown = sorted(
        name
        for name in environment
        if name.startswith(ENV_PREFIX)
        and name != CONFIG_ENV
        and name.removeprefix(ENV_PREFIX).partition("__")[0].upper() not in fields
    )
    if unknown:
        raise SettingsError(
            f"unknown environment variable {', '.join(unknown)}; "
            f"known: {', '.join(ENV_PREFIX + name for name in sorted(fields))}, nested with __"
        )
