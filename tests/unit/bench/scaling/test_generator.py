"""The clients: what they take for an answer, and the books they keep."""

import asyncio
import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.scaling import generator
from bench.scaling.generator import Order, end_of_answer

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfound"
REFUSAL = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno"


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"])
def test_a_head_that_is_not_complete_tells_nothing(answer: bytes) -> None:
    assert end_of_answer(answer) == 0


@pytest.mark.parametrize("cut", [0, 3])
def test_the_end_is_known_once_the_head_is_there(cut: int) -> None:
    assert end_of_answer(ANSWER[: len(ANSWER) - cut]) == len(ANSWER)


def test_an_answer_has_to_tell_its_length() -> None:
    with pytest.raises(ValueError, match="without Content-Length"):
        end_of_answer(b"HTTP/1.1 200 OK\r\n\r\nContent-Length: 5\r\n")


async def _run(tmp_path: Path, answers: list[bytes], close: bool = False) -> tuple[dict[str, object], list[int]]:
    """Run the clients against a server that gives these answers in turn, in two pieces each; what it read of bodies."""
    read: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError), contextlib.closing(writer):
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.rpartition(b"Content-Length: ")[2])
                read.append(len(await reader.readexactly(length)))
                answer = answers[len(read) % len(answers)]
                writer.write(answer[:20])
                await asyncio.sleep(0.001)
                writer.write(answer[20:])
                if close:
                    break

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    (tmp_path / "body").write_bytes(b"x" * 100_000)
    port = server.sockets[0].getsockname()[1]
    async with server:
        return await generator.run(Order(f"http://127.0.0.1:{port}", tmp_path / "body", 3, 0.1, 0.4)), read


def test_every_answer_is_in_the_books(tmp_path: Path) -> None:
    books, read = asyncio.run(_run(tmp_path, [ANSWER, REFUSAL]))
    assert set(read) == {100_000}
    statuses = books["statuses"]
    assert isinstance(statuses, dict)
    assert abs(statuses[200] - statuses[503]) <= 3
    assert len(books["seconds"]) == len(books["ended"]) == sum(statuses.values())  # type: ignore[arg-type]


def test_a_connection_that_ends_is_opened_again(tmp_path: Path) -> None:
    books, read = asyncio.run(_run(tmp_path, [ANSWER], close=True))
    statuses = books["statuses"]
    assert isinstance(statuses, dict)
    assert statuses[200] > 0
    assert statuses[0] > 0
    assert len(read) > 3


def test_where_nobody_listens_nothing_is_answered(tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"x")
    order = Order("http://127.0.0.1:9", tmp_path / "body", 2, 0, 0.5)
    command = [sys.executable, "-m", "bench.scaling.generator", *map(str, order)]
    begin, books = subprocess.run(command, check=True, capture_output=True, timeout=30).stdout.splitlines()
    assert begin == b"begin"
    assert json.loads(books)["statuses"].keys() == {"0"}
