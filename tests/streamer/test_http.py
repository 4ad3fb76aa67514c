from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping

import pytest

from streamer.http import HttpServer
from streamer.settings import HttpSettings, SettingsError


class Checks:
    def __init__(self) -> None:
        self.stalled: dict[str, str] = {}
        self.unready: dict[str, str] = {}

    async def live(self) -> Mapping[str, str]:
        return self.stalled

    async def ready(self) -> Mapping[str, str]:
        return self.unready


@pytest.fixture
def checks() -> Checks:
    return Checks()


@pytest.fixture
async def server(checks: Checks) -> AsyncIterator[HttpServer]:
    server = HttpServer(HttpSettings(port=0), checks.live, checks.ready)
    await server.start()
    yield server
    await server.stop()


async def get(server: HttpServer, path: str) -> tuple[int, str, str]:
    def fetch() -> tuple[int, str, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=5) as answer:
                return answer.status, answer.headers["Content-Type"], answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers["Content-Type"], error.read().decode()

    return await asyncio.to_thread(fetch)


async def test_metrics_are_in_prometheus_own_format(server: HttpServer) -> None:
    status, kind, body = await get(server, "/metrics")
    assert status == 200
    assert kind.startswith("text/plain; version=")
    assert "# TYPE streamer_end_to_end_seconds histogram" in body


async def test_live_and_ready_are_apart(server: HttpServer, checks: Checks) -> None:
    checks.unready = {"embed": "Redis is away"}
    assert (await get(server, "/healthz"))[0] == 200
    status, _, body = await get(server, "/readyz")
    assert (status, json.loads(body)) == (503, {"ok": False, "wrong": {"embed": "Redis is away"}})
    checks.unready, checks.stalled = {}, {"score": "stands still"}
    assert (await get(server, "/healthz"))[0] == 503
    status, _, body = await get(server, "/readyz")
    assert (status, json.loads(body)) == (200, {"ok": True, "wrong": {}})


async def test_nothing_else_is_served(server: HttpServer) -> None:
    assert (await get(server, "/"))[0] == 404


async def test_only_this_machine_is_listened_to_by_default(server: HttpServer) -> None:
    assert server._runner is not None
    assert server._runner.addresses == [("127.0.0.1", server.port)]


async def test_a_port_in_use_is_told(server: HttpServer, checks: Checks) -> None:
    other = HttpServer(HttpSettings(port=server.port), checks.live, checks.ready)
    with pytest.raises(SettingsError, match=rf"cannot listen on 127.0.0.1:{server.port}: .*set http.host"):
        await other.start()
