"""A `bench.engines.worker` seen from the outside: a detector like any other that also says what a call cost."""

import pickle
import subprocess
import sys
import tempfile
from types import TracebackType
from typing import Any, Self

from bench.engines.messages import Answer, Order, Task
from serve_app.detection.spec import EngineInfo, Pixels, RawOutputs
from serve_app.errors import ConfigurationError


class Process:
    """Starts the worker and waits until its model is loaded; a context manager, so none outlives the benchmark."""

    def __init__(self, order: Order) -> None:
        """Raises ConfigurationError, with the worker's last words, if it does not come up."""
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed on exit; an unread pipe would fill and stop the worker
        command = [sys.executable, "-m", "bench.engines.worker"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr)
        self._send(order)
        self.info: EngineInfo = self._receive()

    def infer(self, pixels: Pixels) -> RawOutputs:
        """Run the worker's engine."""
        return self.answer(Task(pixels)).outputs

    def answer(self, task: Task) -> Answer:
        """Run the worker's engine, and say what it cost."""
        self._send(task)
        answer: Answer = self._receive()
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._stderr.close()

    def _send(self, message: object) -> None:
        pipe = self._process.stdin
        assert pipe is not None  # noqa: S101 - for the type checker: we asked for a pipe
        try:
            pickle.dump(message, pipe)
            pipe.flush()
        except BrokenPipeError:
            raise self._failure() from None

    def _receive(self) -> Any:
        pipe = self._process.stdout
        assert pipe is not None  # noqa: S101
        try:
            return pickle.load(pipe)
        except EOFError:
            raise self._failure() from None

    def _failure(self) -> ConfigurationError:
        self._process.wait()
        self._stderr.seek(0)
        last_words = self._stderr.read().decode(errors="replace").strip().splitlines() or ["no word why"]
        self._close()
        return ConfigurationError(f"an engine's process ended: {last_words[-1]}")
