"""One kept-alive HTTP connection with as little between the clock and the socket as can be. For the generator.

On two cores a comfortable client would measure itself: asyncio's protocol and uvicorn's own parser are enough.
"""

import asyncio
from typing import Self, cast

import httptools

from bench.serving.loads import NO_ANSWER


class Connection(asyncio.Protocol):
    """Sends one request at a time; `alive` says whether it can send another."""

    def __init__(self) -> None:
        self.alive = False
        self._transport: asyncio.Transport
        self._parser: httptools.HttpResponseParser
        self._answer: asyncio.Future[int] | None = None

    @classmethod
    async def open(cls, host: str, port: int) -> Self:
        """Connect; raises OSError."""
        _, connection = await asyncio.get_running_loop().create_connection(cls, host, port)
        return connection

    async def post(self, request: bytes) -> int:
        """Send a whole request and return the status of its answer once its last byte is here."""
        if not self.alive:
            return NO_ANSWER
        self._parser = httptools.HttpResponseParser(self)
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Hang up."""
        self.alive = False
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport, self.alive = cast(asyncio.Transport, transport), True

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._finish(NO_ANSWER)
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        """Called by asyncio."""
        self.alive = False
        self._finish(NO_ANSWER)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        status = self._parser.get_status_code()
        if status >= 200:  # else an interim answer, such as 100 Continue
            self.alive = self.alive and self._parser.should_keep_alive()
            self._finish(status)

    def _finish(self, status: int) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(status)


def request(host: str, port: int, body: bytes) -> bytes:
    """A whole `POST /detect` as it goes over the wire."""
    head = f"POST /detect HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n".encode() + body
