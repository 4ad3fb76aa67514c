"""`/metrics`, `/healthz` and `/readyz` on one port, on localhost unless told otherwise.

Live means progress: not stalled with records waiting. Ready means opened (model loaded), well (Redis
reachable) and a member of the consumer group. Knows of stages only what the functions it is given tell.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from streamer.settings import HttpSettings, SettingsError

#: Asked per request: what is wrong, by stage; empty when nothing is.
Check = Callable[[], Awaitable[Mapping[str, str]]]


class HttpServer:
    """The worker's own web server. `port` is the one bound, after `start`."""

    def __init__(self, settings: HttpSettings, live: Check, ready: Check) -> None:
        self._settings = settings
        self._checks = {"/healthz": live, "/readyz": ready}
        self._runner: web.AppRunner | None = None
        self.port = settings.port

    async def start(self) -> None:
        """Listen. Raises `SettingsError` when the address cannot be bound."""
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        for path in self._checks:
            app.router.add_get(path, self._check)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._settings.host, self._settings.port)
        try:
            await site.start()
        except OSError as error:
            await self.stop()
            raise SettingsError(
                f"cannot listen on {self._settings.host}:{self._settings.port}: {error.strerror};"
                " set http.host and http.port (0 takes a free one)"
            ) from error
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close the port."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _check(self, request: web.Request) -> web.Response:
        wrong = dict(await self._checks[request.path]())
        return web.json_response({"ok": not wrong, "wrong": wrong}, status=503 if wrong else 200)
