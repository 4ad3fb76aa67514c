from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis

from streamer.cli import checks
from streamer.client.connection import admin_client
from streamer.local.redis import LocalRedis
from streamer.settings import Settings
from tests.models.tiny import tiny_bundle
from tests.streamer.cli.conftest import Command, command

if TYPE_CHECKING:
    from streamer.local.kafka import LocalKafka


def test_everything_broken_is_said_with_how_to_mend_it(
    streamer: Command,
) -> None:
    ran = streamer("doctor", "--json")
    assert ran.code == 1
    found = {finding["what"]: finding for finding in ran.object["findings"]}
    assert {name: finding["status"] for name, finding in found.items()} == {
        "kafka": "broken",
        "redis": "broken",
        "bundle": "broken",
        "device": "ok",
    }
    assert all(finding["mend"] for finding in found.values() if finding["status"] == "broken")
    told = streamer("doctor")
    assert told.code == 1
    assert "mend: " in told.stdout


def test_topics_are_missed_then_found(online: Command) -> None:
    def topics() -> dict[str, str]:
        [finding] = [f for f in online("doctor", "--json").object["findings"] if f["what"] == "topics"]
        return dict(finding)

    missing = topics()
    assert (missing["status"], missing["mend"]) == ("broken", "streamer topics create")
    assert online("topics", "create").code == 0
    assert topics()["status"] == "ok"


def test_topics_of_another_number_of_partitions_are_broken(
    online: Command, kafka: LocalKafka, topic_prefix: str
) -> None:
    online("topics", "create")
    settings = Settings.load(
        kafka={"bootstrap": kafka.bootstrap, "topic_prefix": topic_prefix, "partitions": 4}
    )
    [finding] = [finding for finding in checks.kafka(settings) if finding.what == "topics"]
    assert finding.status == "broken"
    assert f"{topic_prefix}users 3" in finding.detail
    assert "runbook" in finding.mend


def test_a_redis_that_forgets_is_broken(redis_server: LocalRedis, redis_url: str) -> None:
    settings = Settings.load(redis={"url": redis_url})
    with redis.Redis.from_url(redis_url) as client:
        try:
            client.config_set("maxmemory", "100mb")
            client.config_set("maxmemory-policy", "allkeys-lru")
            found = {finding.what: finding for finding in checks.redis(settings)}
            assert found["redis"].status == "ok"
            assert found["redis memory"].status == "broken"
            assert "volatile-ttl" in found["redis memory"].mend
            client.config_set("maxmemory-policy", "noeviction")
            assert [f.status for f in checks.redis(settings)] == ["ok", "ok"]
        finally:
            client.config_set("maxmemory", "0")
            client.config_set("maxmemory-policy", "noeviction")


@pytest.mark.redis
def test_a_redis_that_takes_no_writes_is_broken() -> None:
    with LocalRedis() as server, redis.Redis.from_url(server.url) as client:
        client.replicaof("127.0.0.1", 9)
        found = next(checks.redis(Settings.load(redis={"url": server.url})))
    assert found.status == "broken"
    assert found.detail == f"{server.address} takes no writes: You can't write against a read only replica."
    assert found.mend.startswith("point redis.url at its master")


@pytest.mark.redis
def test_all_masters_of_a_cluster_are_looked_at(cluster_server: str) -> None:
    with redis.RedisCluster.from_url(cluster_server.partition("?")[0]) as cluster:
        cluster.flushall()
        for i in range(100):
            cluster.set(f"user:{i}", b"x")
    found = list(checks.redis(Settings.load(redis={"url": cluster_server})))
    assert [finding.status for finding in found] == ["ok", "ok"]
    assert ", 100 keys" in found[0].detail


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("redis://:sesame@127.0.0.1:9/0", "127.0.0.1:9"),
        ("redis://127.0.0.1:9/0?password=sesame", "127.0.0.1:9"),
        ("redis://:sesame@127.0.0.1:9/0?cluster=true", "127.0.0.1:9"),
        ("unix:///nowhere/x.sock?db=0&password=sesame", "/nowhere/x.sock"),
        ("unix://me:sesame@/nowhere/x.sock", "/nowhere/x.sock"),
    ],
)
def test_a_password_is_never_shown(url: str, where: str) -> None:
    settings = Settings.load(redis={"url": url})
    [finding] = checks.redis(settings)
    assert finding.detail.startswith(f"{where}: ")
    assert "sesame" not in str(finding)


def test_a_url_that_cannot_be_read_is_not_shown() -> None:
    broken = command(STREAMER_REDIS__URL="redis://:open/sesame@127.0.0.1:9/0")
    for arguments in ((), ("--json",)):
        ran = broken("doctor", *arguments)
        assert ran.code == 1
        assert "`url` cannot be read" in ran.stderr
        assert "open" not in ran.stdout + ran.stderr
        assert "sesame" not in ran.stdout + ran.stderr


def test_a_bundle_is_read_whole(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "bundle")
    settings = Settings.load(bundle=tmp_path / "bundle")
    assert [finding.status for finding in checks.bundle(settings)] == ["ok"]
    (tmp_path / "bundle" / "model.safetensors").write_bytes(b"cut off")
    [finding] = checks.bundle(settings)
    assert finding.status == "broken"
    assert "was changed or cut off" in finding.detail


def test_a_gpu_that_is_not_there_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    [finding] = checks.device(Settings.load(device="cuda"))
    assert finding.status == "broken"
    assert "choose auto or cpu" in finding.mend


def test_a_device_that_is_not_there_is_broken() -> None:
    (found,) = checks.device(Settings.load(device="foo"))
    assert found == checks.Finding(
        "device", "broken", "no device is called 'foo'", "choose auto, cpu, cuda or cuda:N"
    )


def test_an_arithmetic_that_the_processor_lacks_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.text.numerics.multiplies_bfloat16", lambda: False)
    (found,) = checks.device(Settings.load(device="cpu", numerics="bf16"))
    assert found == checks.Finding(
        "device", "broken", "numerics bf16: this processor can't multiply it", "choose auto, int8 or fp32"
    )  # fmt: skip


@pytest.mark.parametrize("cluster", ["", "&cluster=true"])
def test_an_option_of_the_url_that_redis_has_not_is_broken(cluster: str) -> None:
    (found,) = checks.redis(Settings.load(redis={"url": f"redis://127.0.0.1:1/0?pasword=hush{cluster}"}))
    assert found.status == "broken"
    assert "pasword" in found.detail
    assert "hush" not in repr(found)


def test_a_topic_that_forgets_is_a_warning_with_the_command_that_mends_it(
    online: Command, kafka: LocalKafka, topic_prefix: str
) -> None:
    settings = Settings.load(kafka={"bootstrap": kafka.bootstrap, "topic_prefix": topic_prefix})
    name = settings.kafka.topic("score-requests")
    forgets = {"num_partitions": 3, "replication_factor": 1, "configs": {"retention.ms": "172800000"}}
    with admin_client(settings) as admin:
        admin.create_topics({name: forgets}, wait_for_metadata=True)
    online("topics", "create")
    [finding] = [finding for finding in checks.kafka(settings) if finding.status == "warning"]
    assert finding.what == f"topic {name}"
    assert f"--topic {name} --add-config retention.ms=1209600000" in finding.mend
