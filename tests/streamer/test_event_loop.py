from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest
import uvloop
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from streamer.event_loop import Connection

Send = Callable[[Connection], object]


async def lose(send: Send) -> bool:
    """Send on a socket that has just been lost; whether the connection still holds itself for connected."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        connection = Connection(host, port, request_timeout_ms=1000)
        reader, writer = await asyncio.open_connection(host, port)
        connection._reader, connection._writer = reader, writer
        connection._read_task = asyncio.ensure_future(reader.read())
        connection._versions = {3: (0, 5)}
        writer.transport.abort()
        await asyncio.sleep(0)
        with pytest.raises(KafkaConnectionError, match=rf"{host}:{port} broken"):
            send(connection)
        await writer.wait_closed()
        return bool(connection.connected())


@pytest.mark.parametrize(
    "send",
    [
        lambda connection: connection.send(MetadataRequest([])),
        lambda connection: connection._send_sasl_token(b"token", expect_response=True),
    ],
    ids=["request", "token"],
)
def test_a_lost_socket_is_a_lost_connection(send: Send) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert not runner.run(lose(send))
