"""One engine in a process of its own, driven over its pipes. Started by `bench.engines.process`, never by hand.

Two engines in one process fight over threads, and their memory could not be told apart.
"""

import os
import pickle
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from bench.engines.messages import Answer, Order, Task
from serve_app.detection.engines import threads
from serve_app.detection.model import artifact
from serve_app.detection.spec import Detector, RawOutputs
from serve_app.settings import OnnxSettings, TorchSettings


def load(order: Order) -> Detector:
    """The detector of an order, importing its library only."""
    threads.reserve(order.threads, order.spinning)
    if order.artifact is None:
        from serve_app.detection.engines.torch import TorchDetector

        settings = TorchSettings(threads=order.threads, spinning=order.spinning, precision=order.precision)
        return TorchDetector(order.checkpoint, settings)
    from serve_app.detection.engines.open import open_engine

    wanted = OnnxSettings(threads=order.threads, spinning=order.spinning, engine=order.engine)
    return open_engine(order.artifact, artifact.load_manifest(order.artifact, ""), wanted)


def serve(orders: BinaryIO, answers: BinaryIO) -> None:
    """Load what the first message orders, then answer each task until the pipe closes."""
    detector = load(pickle.load(orders))
    pickle.dump(detector.info, answers)
    answers.flush()
    with ThreadPoolExecutor() as helpers:  # kept, as OpenMP gives each thread that calls it a team of its own
        while True:
            try:
                task: Task = pickle.load(orders)
            except EOFError:
                return
            start = time.perf_counter()
            helping = [helpers.submit(_repeat, detector, task) for _ in range(task.at_once - 1)]
            outputs = _repeat(detector, task)
            for helper in helping:
                helper.result()
            seconds = time.perf_counter() - start
            pickle.dump(Answer(outputs, seconds, _peak_bytes()), answers)
            answers.flush()


def _repeat(detector: Detector, task: Task) -> RawOutputs:
    for _ in range(task.repeats - 1):
        detector.infer(task.pixels)
    return detector.infer(task.pixels)


def _peak_bytes() -> int:
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage would count the parent's memory from before the exec
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not mix with the answers
    serve(sys.stdin.buffer, pipe)
