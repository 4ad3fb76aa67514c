"""What ops/ and docker-compose.yml say agrees with the code: names, settings, versions, ports."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from prometheus_client.metrics import MetricWrapperBase

from streamer import metrics
from streamer.settings import Settings
from streamer.stages import STAGES

ROOT = Path(__file__).parents[1]
COMPOSE = ROOT / "docker-compose.yml"
#: Goes on top of it.
GPU = ROOT / "ops" / "docker" / "gpu.yml"
DASHBOARDS = sorted((ROOT / "ops" / "grafana" / "dashboards").glob("*.json"))
SAMPLES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


def expressions() -> Iterator[str]:
    for dashboard in DASHBOARDS:
        for panel in json.loads(dashboard.read_text())["panels"]:
            yield from (target["expr"] for target in panel["targets"])
    for group in yaml.safe_load((ROOT / "ops" / "prometheus" / "rules.yml").read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


def test_every_metric_shown_or_alerted_on_exists() -> None:
    exported = {
        described.name + suffix
        for metric in vars(metrics).values()
        if isinstance(metric, MetricWrapperBase)
        for described in metric.describe()
        for suffix in SAMPLES[described.type]
    }
    used = {name for expression in expressions() for name in re.findall(r"\bstreamer_\w+", expression)}
    assert len(used) > 10
    assert used <= exported


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboard_uses_the_provisioned_source(path: Path) -> None:
    sources = yaml.safe_load((ROOT / "ops/grafana/provisioning/datasources/prometheus.yml").read_text())
    panels = json.loads(path.read_text())["panels"]
    used = {target["datasource"]["uid"] for panel in panels for target in panel["targets"]}
    assert used == {source["uid"] for source in sources["datasources"]}
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_compose_file_is_valid() -> None:
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0:
        command = ["docker", "compose", "-f", str(COMPOSE), "-f", str(GPU), "config", "--quiet"]
    else:
        pytest.importorskip(
            "check_jsonschema", reason="neither the compose plugin nor check-jsonschema is here"
        )
        command = [
            sys.executable,
            "-m",
            "check_jsonschema",
            "--builtin-schema",
            "vendor.compose-spec",
            str(COMPOSE),
            str(GPU),
        ]
    checked = subprocess.run(
        command,
        cwd=ROOT,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "REDIS_PASSWORD": "r", "GRAFANA_PASSWORD": "g"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_nothing_of_the_compose_file_listens_beyond_this_machine() -> None:
    ports = [port for service in services().values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_mounted_files_exist() -> None:
    mounts = [mount for service in services().values() for mount in service.get("volumes", [])]
    sources = {mount.split(":")[0] for mount in mounts if mount.startswith("./")}
    assert {"./bundle"} < sources  # the user's own
    assert all((ROOT / source).is_dir() for source in sources - {"./bundle"})


def test_compose_runs_every_stage_once() -> None:
    stages = [
        service["command"][1:]
        for service in services().values()
        if service.get("command", "")[:1] == ["worker"]
    ]
    assert sorted(chain(*stages)) == sorted(STAGES)


def test_a_gpu_is_for_a_service_that_there_is() -> None:
    (service,) = yaml.safe_load(GPU.read_text())["services"]
    assert services()[service]["command"] == ["worker", "embed"]


@pytest.mark.parametrize("service", ["topics", "embed", "score"])
def test_settings_take_what_compose_sets(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    of_gpu = yaml.safe_load(GPU.read_text())["services"].get(service, {}).get("environment", {})
    for name, value in {**services()[service]["environment"], **of_gpu}.items():
        monkeypatch.setenv(name, str(value))
    settings = Settings.load()
    assert settings.kafka.bootstrap == "kafka:19092"
    if service != "topics":
        (scrape,) = yaml.safe_load((ROOT / "ops/prometheus/prometheus.yml").read_text())["scrape_configs"]
        (discovery,) = scrape["dns_sd_configs"]
        assert settings.http.host == "0.0.0.0"
        assert settings.http.port == discovery["port"]
        assert service in discovery["names"]


def test_one_kafka_version() -> None:
    pom = (ROOT / "ops" / "kafka" / "pom.xml").read_text()
    version = re.search(r"<artifactId>kafka_2.13</artifactId>\s*<version>(.*?)</version>", pom)
    assert version is not None
    assert services()["kafka"]["image"] == f"apache/kafka:{version[1]}"


def test_constraints_cover_every_requirement() -> None:
    """They are renewed by `make lock`; a requirement added without it would float."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    pinned: dict[str, list[str]] = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if match := re.match(r"([\w.-]+)==([^ ;]+)", line):
            pinned.setdefault(match[1], []).append(match[2])
    assert all(
        requirement.specifier.contains(version)
        for requirement in map(Requirement, declared)
        if requirement.name != project["name"]
        for version in pinned[re.sub(r"[-_.]+", "-", requirement.name).lower()]
    )
