"""A worker's settings on the way into its process. That it works is shown wherever one is started."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from pydantic import SecretStr

from streamer.local.process import LocalServerError
from streamer.local.worker import LocalWorker
from streamer.settings import CONFIG_ENV, KafkaSettings, RedisSettings, Settings


def test_the_worker_gets_exactly_these_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(
        kafka=KafkaSettings(
            bootstrap='somewhere:9092,"else\\where":1',
            api_version=(2, 3),
            security_protocol="SASL_PLAINTEXT",
            sasl_username="ü",
            sasl_password=SecretStr("sesame"),
        ),
        redis=RedisSettings(url="redis://127.0.0.1:1/3"),
        bundle=tmp_path / "bundle",
        stages=("embed", "score"),
    )
    monkeypatch.setenv("STREAMER_DEVICE", "cuda:7")
    worker = LocalWorker(settings, tmp_path)
    command = list(worker.command())
    file = tmp_path / "worker.toml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    # `env -u` takes away what would go before the file.
    assert command[command.index("STREAMER_DEVICE") - 1] == "-u"
    assert f"{CONFIG_ENV}={file}" in command
    monkeypatch.delenv("STREAMER_DEVICE")
    expected = settings.http.model_copy(update={"host": "127.0.0.1", "port": worker.port})
    assert Settings.load(file) == settings.model_copy(update={"http": expected})


def test_a_worker_that_cannot_start_says_why() -> None:
    settings = Settings(kafka=KafkaSettings(bootstrap="127.0.0.1:9", outage_s=1.0), stages=("follows",))
    worker = LocalWorker(settings)
    with pytest.raises(LocalServerError, match=r"worker.*127\.0\.0\.1:9"), worker:
        pass
    assert not worker.data_dir.exists()
