from __future__ import annotations

import os
import tomllib
import traceback
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from streamer.settings import RedisSettings, Settings, SettingsError

EXAMPLE = Path(__file__).parents[2] / "ops" / "streamer.toml"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("STREAMER_"):
            monkeypatch.delenv(name)


def write(folder: Path, text: str) -> Path:
    path = folder / "streamer.toml"
    path.write_text(text)
    return path


def test_environment_goes_before_the_file_and_arguments_before_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(
        tmp_path, 'device = "cpu"\nrequest_wait_s = 3\n[kafka]\nbootstrap = "file:1"\ntopic_prefix = "p."'
    )
    monkeypatch.setenv("STREAMER_CONFIG", str(path))
    monkeypatch.setenv("STREAMER_KAFKA__BOOTSTRAP", "env:1, env:2")
    monkeypatch.setenv("STREAMER_DEVICE", "cuda:0")
    settings = Settings.load(device="auto")
    assert settings.kafka.servers == ["env:1", "env:2"]
    assert (settings.kafka.topic("tweets"), settings.request_wait_s, settings.device) == (
        "p.tweets",
        3,
        "auto",
    )


def test_an_argument_names_the_file_before_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMER_CONFIG", "/nowhere.toml")
    assert Settings.load(write(tmp_path, 'device = "cpu"')).device == "cpu"
    assert Settings.load(write(tmp_path, "")).device == "auto"


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("devce = 1", "devce: Extra inputs are not permitted; did you mean `device`?"),
        (
            "[kafka]\nbootstra = 'x'",
            "kafka.bootstra: Extra inputs are not permitted; did you mean `bootstrap`?",
        ),
        ("[kafka]\nxyz = 'x'", "kafka.xyz: Extra inputs are not permitted"),
        ("[http]\nport = 'many'", "http.port: Input should be a valid integer"),
        ("[freshness]\ndrop_below = 5", "`drop_below` is more than `drop_above`"),
        ("[predictions]\nformat = 'csv'", "predictions.format: Input should be 'pair' or 'columnar'"),
        ("[predictions]\nmin_probability = 2", "predictions.min_probability"),
        ("[kafka]\nsecurity_protocol = 'SASL_SSL'", "needs `sasl_username`"),
        ("[redis]\nurl = 'http://x'", "must start with redis://"),
        ("[redis]\npassword = 'a'\npassword_file = 'b'", "not both"),
        ("kafka = [", "is not TOML"),
    ],
)
def test_mistakes_in_the_file_are_told(tmp_path: Path, toml: str, message: str) -> None:
    with pytest.raises(SettingsError) as raised:
        Settings.load(write(tmp_path, toml))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["STREAMER_DEVCE", "STREAMER_KAFKA__BOOTSTRA", "STREAMER_KAFKAS__BOOTSTRAP"])
def test_unknown_environment_variables_are_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "x")
    with pytest.raises(SettingsError):
        Settings.load()


def test_a_missing_file_is_told() -> None:
    with pytest.raises(SettingsError, match=r"cannot read settings file /nowhere\.toml"):
        Settings.load("/nowhere.toml")


def test_stages_come_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMER_STAGES", "embed, score")
    assert Settings.load().stages == ("embed", "score")


def test_secrets_are_given_to_clients_and_to_nobody_else(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2\n")
    settings = Settings.load(
        kafka={
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_username": "me",
            "sasl_password_file": str(tmp_path / "secret"),
        },
        redis={"url": "rediss://:hunter2@host:1/0", "password": "hunter2"},
    )
    assert settings.kafka.aiokafka_config()["sasl_plain_password"] == "hunter2"
    assert settings.kafka.kafka_python_config()["sasl_plain_password"] == "hunter2"
    assert settings.redis.redis_config()["password"] == "hunter2"
    assert "hunter2" not in repr(settings) + str(settings)


@pytest.mark.parametrize(
    "url",
    [
        "redis://:open/sesame@host:1/0",
        "redis://open:12/sesame@host:1/0",
        "redis://:open?sesame@host:1/0",
        "rediss://:open#sesame@host:1/0",
        "redis://:[open]sesame@host:1/0",
        "redis://host:1/0?password=open@sesame",
        "redis://host:opensesame/0",
        "unix://me:open/sesame@/x.sock",
        "http://:open:sesame@host:1/0",
    ],
)
def test_a_redis_url_that_could_be_misread_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(SettingsError, match="`url`") as told:
        Settings.load(redis={"url": url})
    with pytest.raises(ValidationError) as raw:
        RedisSettings(url=url)
    for error in (told, raw):
        shown = "".join(traceback.format_exception(error.value))
        assert "open" not in shown
        assert "sesame" not in shown


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://:a%2Fb%3Fc%40d@host:1/0", "host:1"),
        ("rediss://me:a@b@host?cluster=true", "host:6379"),
        ("redis:///1", "localhost:6379"),
        ("unix://me:secret@/run/x.sock?db=1&password=secret", "/run/x.sock"),
    ],
)
def test_what_may_be_shown_of_a_redis_url(url: str, address: str) -> None:
    assert RedisSettings(url=url).address == address


def test_an_unreadable_secret_is_told() -> None:
    kafka = Settings.load(
        kafka={"security_protocol": "SASL_SSL", "sasl_username": "me", "sasl_password_file": "/nowhere"}
    ).kafka
    with pytest.raises(SettingsError, match=r"kafka\.sasl_password_file: cannot read /nowhere"):
        kafka.aiokafka_config()


def test_tls_files_that_do_not_work_are_told(tmp_path: Path) -> None:
    kafka = Settings.load(kafka={"security_protocol": "SSL", "ssl_cafile": str(tmp_path / "none")}).kafka
    with pytest.raises(SettingsError, match="cannot use the TLS files"):
        kafka.aiokafka_config()
    assert (
        Settings.load(kafka={"security_protocol": "SSL"}).kafka.aiokafka_config()["ssl_context"] is not None
    )


def test_a_redis_cluster_is_asked_for_in_the_url() -> None:
    redis = Settings.load(redis={"url": "redis://h:1/0?cluster=true&client_name=x"}).redis
    assert redis.cluster
    assert redis.redis_config()["url"] == "redis://h:1/0?client_name=x"
    assert not Settings.load().redis.cluster


def every_field(model: type[BaseModel]) -> list[tuple[str, str | None]]:
    found = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += [(f"{name}.{inner}", text) for inner, text in every_field(field.annotation)]
        else:
            found.append((name, field.description))
    return found


def test_every_setting_is_described() -> None:
    assert [name for name, text in every_field(Settings) if not text] == []


def test_the_example_names_every_setting_and_means_the_defaults(tmp_path: Path) -> None:
    text = EXAMPLE.read_text()
    # Settings that are commented out have no default worth writing: paths and secrets.
    uncommented = "\n".join(line.removeprefix("#: ") for line in text.splitlines())
    tables = tomllib.loads(uncommented)
    named = {
        name if not isinstance(value, dict) else f"{name}.{inner}"
        for name, value in tables.items()
        for inner in (value if isinstance(value, dict) else [""])
    }
    assert named == {name for name, _ in every_field(Settings)}
    assert Settings.load(EXAMPLE) == Settings.load()


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ("pasword=hush", "pasword"),
        ("db=hush", "db"),
        ("protocol=9", "protocol"),
        ("cache_config=hush", "cache_config"),
        ("client_name=x&cluster=true&passwort=hush&socket_timeout=hush", "passwort, socket_timeout"),
    ],
)
def test_an_option_that_redis_has_not_is_named_without_its_value(options: str, wrong: str) -> None:
    with pytest.raises(SettingsError, match=f"^redis.url: .* correct or remove {wrong}$") as caught:
        RedisSettings(url=f"redis://h:1/0?{options}").redis_config()
    shown = "".join(traceback.format_exception(caught.value))
    assert "\n" not in str(caught.value)
    assert "hush" not in shown


@pytest.mark.parametrize(
    ("options", "fixed"),
    [
        ("decode_responses=true", "decode_responses"),
        ("max_connections=1", "max_connections"),
        ("%64ecode_responses=true", "decode_responses"),
        ("protocol=3", "protocol"),
        ("protocol=2&cluster=true", "protocol"),
        ("client_name=x&encoding=hush&retry=9&socket_timeout=1", "encoding, retry"),
        ("credential_provider=hush", "credential_provider"),
        ("connection_class=hush", "connection_class"),
    ],
)
def test_an_option_that_we_rely_on_is_not_to_be_chosen(options: str, fixed: str) -> None:
    line = f"^redis.url: our code relies on its own choice of {fixed}: remove that from the URL$"
    with pytest.raises(SettingsError, match=line) as caught:
        RedisSettings(url=f"rediss://h:1/0?{options}").redis_config()
    assert "\n" not in str(caught.value)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "redis://h/0?socket_timeout=1&socket_connect_timeout=2&socket_keepalive=no&health_check_interval=9",
        "redis://h?db=3&username=me&password=p%26w",
        "unix:///run/redis.sock?db=2",
        "rediss://h/0?ssl_cert_reqs=none&client_name=x",
    ],
)
def test_options_that_redis_has_are_passed_on(url: str) -> None:
    assert RedisSettings(url=url).redis_config()["url"] == url
