"""One server process that never outlives its owner.

Starts a command in its own process group, waits until it answers, and ends the whole group on `stop` or
`kill`. Should the owner die without calling either (even by SIGKILL), the operating system closes a pipe and
the group goes too. Knows nothing of which server it runs.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

HOST = "127.0.0.1"

# The watchdog reads a pipe that only the owner holds: it returns when the owner closes it or dies. Not by
# PR_SET_PDEATHSIG: that fires when the *thread* that started the server ends, and is Linux's alone.
# `$$` is the server and `kill 0` means this process group: neither number can become anyone else's while the
# watchdog itself is a member of that group. `$0` is the temporary folder to remove, or nothing.
_WATCHED = (
    'exec 3<&0; (read -r _ <&3; kill -KILL $$; rm -rf "$0"; kill -KILL 0) & exec 3<&-; exec "$@" </dev/null'
)

# Below every common ephemeral range (Linux 32768+, macOS and BSD 49152+): were the port inside it, a client
# that reconnects while the server is down could be given that very port for its own end, and keep the server
# from coming back on it.
_PORTS = range(20_000, 32_000)


class LocalServerError(RuntimeError):
    """A local server cannot be started; the message says why and what to do."""


def free_port() -> int:
    """A TCP port of localhost that nobody listens on now."""
    for port in random.sample(_PORTS, 200):
        with socket.socket() as probe:
            # As servers do: a port whose old connections linger in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((HOST, port))
                return port
    raise LocalServerError(f"no free port among 200 tried on {HOST}: end what holds them")


class LocalServer:
    """A server on localhost, and a context manager. It comes back on the same port, with the same data.

    Subclasses give the command line and the check that it answers. Without `data_dir` the data live in a
    temporary folder that `close` (and leaving the context) removes; `stop` and `kill` keep them.
    """

    name: str
    start_timeout = 60.0

    def __init__(self, data_dir: Path | None = None, port: int | None = None) -> None:
        self._temporary = data_dir is None
        self.data_dir = (
            Path(tempfile.mkdtemp(prefix=f"local-{self.name}-")) if data_dir is None else data_dir.resolve()
        )
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.port = port or free_port()
        self.log = self.data_dir / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"{HOST}:{self.port}"

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The server's process id. Raises `LocalServerError` when it was not started."""
        if self._process is None:
            raise LocalServerError(f"{self.name} is not running: call start() first")
        return self._process.pid

    def command(self) -> Sequence[str]:
        """The command line; may prepare `data_dir`."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether the server serves requests; called again and again once its port is open."""
        raise NotImplementedError

    def explain(self, log: str) -> str:
        """What to do about a server that did not start, given the end of its log."""
        return f"see the end of its log:\n{log}"

    def start(self) -> Self:
        """Return once requests are answered. Raises `LocalServerError` with the reason otherwise."""
        if self.running:
            return self
        if self._listens():  # else `answers` would ask whoever is there
            raise LocalServerError(
                f"port {self.port} of {HOST} is taken: end what holds it, or choose another"
            )
        command = list(self.command())
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _WATCHED, str(self.data_dir) if self._temporary else "", *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.data_dir,
                start_new_session=True,
            )
        try:
            self._await()
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self, timeout: float = 15.0) -> None:
        """Ask to end (SIGTERM), wait up to `timeout` seconds, then SIGKILL. Harmless when not running."""
        if self.running:
            os.kill(self.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._wait(timeout)
        self.kill()

    def kill(self) -> None:
        """SIGKILL, as a power cut would; the data stay as they are. Harmless when not running."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for a group of zombies
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None

    def restart(self) -> None:
        """Stop if running, then start on the same port and data."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop, and remove the data if they are in a temporary folder."""
        self.stop()
        if self._temporary:
            shutil.rmtree(self.data_dir, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:  # nobody leaves a context that was not entered
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait(self) -> int:
        """Wait until the server ends by itself; its exit status."""
        return self._wait(None)

    def _wait(self, timeout: float | None) -> int:
        # Popen.wait blocks in waitpid without a timeout, and polls with one.
        return self._process.wait(timeout) if self._process is not None else 0

    def _await(self) -> None:
        deadline = time.monotonic() + self.start_timeout
        while time.monotonic() < deadline:
            if not self.running:
                tail = self.log.read_text(errors="replace")[-2000:]
                raise LocalServerError(f"{self.name} ended while starting: {self.explain(tail)}")
            if self._listens() and self.answers():
                return
            time.sleep(0.02)
        tail = self.log.read_text(errors="replace")[-2000:]
        raise LocalServerError(
            f"{self.name} did not answer within {self.start_timeout:.0f} s: {self.explain(tail)}"
        )

    def _listens(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1.0)
            return probe.connect_ex((HOST, self.port)) == 0
