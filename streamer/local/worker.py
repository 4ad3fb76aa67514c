"""A worker on this machine, as a process of its own that never outlives its owner.

Its settings are given whole: no environment variable of the owner's changes them. Knows nothing of what the
stages do.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from streamer.local.process import HOST, LocalServer, LocalServerError, free_port
from streamer.settings import CONFIG_ENV, ENV_PREFIX, Settings

_ROOT = Path(__file__).parents[2]
_TIMEOUT_S = 5.0


class LocalWorker(LocalServer):
    """`streamer worker` with these settings. Started means ready: model loaded, partitions assigned.

    The port is that of `/metrics`; `settings.http` does not count. `threads` are torch's for one operation:
    they spin while they wait, so on a machine shared with others one may be faster than many.
    """

    name = "worker"
    start_timeout = 120.0

    def __init__(
        self, settings: Settings, data_dir: Path | None = None, *, threads: int | None = None
    ) -> None:
        super().__init__(data_dir, free_port())
        self._threads = threads
        http = settings.http.model_copy(update={"host": HOST, "port": self.port})
        bundle = settings.bundle.resolve() if settings.bundle else None
        self._settings = settings.model_copy(update={"http": http, "bundle": bundle})

    def command(self) -> Sequence[str]:
        """Write the settings, and run this Python on this package."""
        file = self.data_dir / "worker.toml"
        file.touch(mode=0o600)  # it may hold passwords
        file.write_text("".join(_toml(self._settings.model_dump())), encoding="utf-8")
        mine = [name for name in os.environ if name.startswith(ENV_PREFIX)]
        path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
        return [
            "env",
            *(part for name in mine for part in ("-u", name)),
            f"{CONFIG_ENV}={file}",
            f"PYTHONPATH={path}",
            *([f"OMP_NUM_THREADS={self._threads}"] if self._threads else []),
            sys.executable,
            "-m",
            "streamer.cli",
            "worker",
        ]

    def answers(self) -> bool:
        """Whether it is ready."""
        try:
            with urllib.request.urlopen(f"http://{self.address}/readyz", timeout=_TIMEOUT_S) as reply:
                return bool(reply.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def explain(self, log: str) -> str:
        """The last line of a worker that ended says why."""
        lines = [line for line in log.splitlines() if " CRITICAL " in line]
        return lines[-1].partition(" CRITICAL ")[2].strip() if lines else super().explain(log)

    def check(self) -> None:
        """Raise `LocalServerError`, with its reason, when it has ended."""
        if not self.running:
            tail = self.log.read_text(errors="replace")[-2000:]
            raise LocalServerError(f"the worker ended: {self.explain(tail)}")

    def metrics(self) -> dict[str, float]:
        """Every sample's value by name, summed over labels. Raises `OSError` when the worker is gone."""
        with urllib.request.urlopen(f"http://{self.address}/metrics", timeout=_TIMEOUT_S) as reply:
            text = reply.read().decode()
        values: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                values[sample.name] = values.get(sample.name, 0.0) + sample.value
        return values


def _toml(tables: Mapping[str, Any]) -> Iterator[str]:
    """The settings as TOML: plain values first, then one table for each group. None is left out."""
    for name, value in tables.items():
        if not isinstance(value, dict) and value is not None:
            yield f"{name} = {_value(value)}\n"
    for name, table in tables.items():
        if isinstance(table, dict):
            yield f"[{name}]\n"
            yield from (f"{key} = {_value(value)}\n" for key, value in table.items() if value is not None)


def _value(value: object) -> str:
    # JSON's strings, numbers, booleans and lists are TOML's.
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
