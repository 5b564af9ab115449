"""Kept-alive HTTP connections with little code between the clock and the socket. Used by `bench.load.generator`.

On two cores a general HTTP client would take so much processor time that the benchmark would measure it too.
"""

import asyncio
from typing import Self, cast

import httptools

from bench.load.plan import NO_ANSWER, Answer, Target


class Connection(asyncio.Protocol):
    """Sends one request at a time; `alive` says whether it can send another."""

    def __init__(self) -> None:
        self.alive = False
        self._transport: asyncio.Transport
        self._parser: httptools.HttpResponseParser
        self._answer: asyncio.Future[Answer] | None = None

    @classmethod
    async def open(cls, host: str, port: int) -> Self:
        """Connect; raises OSError."""
        _, connection = await asyncio.get_running_loop().create_connection(cls, host, port)
        return connection

    async def post(self, request: bytes) -> Answer:
        """Send a whole request and return its answer once the last byte is here."""
        if not self.alive:
            return Answer()
        self._parser = httptools.HttpResponseParser(self)
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Close the socket."""
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
            self._finish(Answer())
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        """Called by asyncio."""
        self.alive = False
        self._finish(Answer())

    def on_message_begin(self) -> None:
        """Called by the parser, also before an interim answer such as 100 Continue."""
        self._headers: dict[str, str] = {}
        self._body = b""

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, part: bytes) -> None:
        """Called by the parser."""
        self._body += part

    def on_message_complete(self) -> None:
        """Called by the parser."""
        status = self._parser.get_status_code()
        if status >= 200:
            self.alive = self.alive and self._parser.should_keep_alive()
            self._finish(Answer(status, self._headers, self._body))

    def _finish(self, answer: Answer) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)


class Pool:
    """The connections to one target, opened as they are needed and used again where the server lets them."""

    def __init__(self, target: Target) -> None:
        self._target, self._request = target, target.request()
        self._idle: list[Connection] = []

    async def post(self) -> Answer:
        """Send the target's request once. No error and no missing answer is raised: both are status 0."""
        connection, answer = None, Answer()
        try:
            async with asyncio.timeout(self._target.patience_s):
                connection = await self._connection()
                answer = await connection.post(self._request)
        except (OSError, TimeoutError):
            pass
        if connection is None:
            return answer
        if connection.alive and answer.status != NO_ANSWER:
            self._idle.append(connection)
        else:
            connection.close()
        return answer

    async def _connection(self) -> Connection:
        while self._idle:
            if (connection := self._idle.pop()).alive:
                return connection
        return await Connection.open(*self._target.address)

    def close(self) -> None:
        """Close all connections that are not in use."""
        for connection in self._idle:
            connection.close()
