"""A real Redis Cluster that tests of the stream share."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from redis import Redis

from streamer.local.process import free_port
from streamer.local.redis import LocalRedis


class ClusterNode(LocalRedis):
    """A redis-server in cluster mode, which has only database 0."""

    def command(self) -> Sequence[str]:
        command = list(super().command())
        command[command.index("--databases") + 1] = "1"
        return [*command, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000"]


def _node() -> ClusterNode:
    """A node whose bus, always 10,000 above its port before Redis 7, is below the ephemeral ports too."""
    while True:
        port = free_port() - 10_000
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return ClusterNode(port=port)


@pytest.fixture(scope="session")
def cluster_server() -> Iterator[str]:
    """Three masters with all slots between them."""
    nodes = [_node() for _ in range(3)]
    try:
        for node in nodes:
            node.start()
        clients: list[Any] = [Redis(port=node.port) for node in nodes]  # its commands are not typed
        for i, client in enumerate(clients):
            client.execute_command("CLUSTER", "ADDSLOTS", *range(16_384 * i // 3, 16_384 * (i + 1) // 3))
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[0].port)
        deadline = time.monotonic() + 20
        while not all(_knows_all(client) for client in clients):
            assert time.monotonic() < deadline, "the cluster did not form"
            time.sleep(0.05)
        for client in clients:
            client.close()
        yield f"redis://{nodes[0].address}/0?cluster=true"
    finally:
        for node in nodes:
            node.close()


def _knows_all(client: Any) -> bool:
    info = client.execute_command("CLUSTER", "INFO")
    text: dict[str, str] = (
        info if isinstance(info, dict) else dict(line.split(":") for line in info.decode().split())
    )
    return (
        text["cluster_state"] == "ok" and text["cluster_slots_ok"] == "16384" and text["cluster_size"] == "3"
    )
