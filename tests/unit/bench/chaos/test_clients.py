"""What a client notes of answers that come before the request was read, and of connections that end without one."""

import asyncio
import socket
import struct

import pytest

from bench.chaos.clients import NO_ANSWER, Target

REFUSED = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nRetry-After: 1\r\n\r\n"
BODY = b'{"code": "overloaded"}'
IMAGE = bytes(400_000)


@pytest.mark.parametrize(("answer", "status"), [(REFUSED + BODY, 503), (b"", NO_ANSWER)], ids=["refusal", "nothing"])
def test_a_server_that_resets_the_connection_with_the_image_unread(answer: bytes, status: int) -> None:
    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        await asyncio.sleep(0.05)
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing is a reset now
        writer.close()

    async def ask() -> None:
        async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            sent = await Target(f"http://127.0.0.1:{port}", IMAGE).post()
        assert sent.status == status
        assert sent.problem == sent.retry_after == (status == 503)

    asyncio.run(ask())
