"""The reference: one process with Starlette, uvicorn and ONNX Runtime, as little as can serve the detector.

Runs in the project's own environment: `python -m bench.serving.peers.bare_server`, by `bench.serving.contenders`.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bench.serving.peers.detector import WORKERS, Detector, port

_THREADS = (
    WORKERS + 2
)  # as in our ONNX backend: those in the engine, one image being prepared, one answer being written


def build() -> Starlette:
    """The application around a loaded detector."""
    detector, workers = Detector(inferences_at_once=WORKERS), ThreadPoolExecutor(_THREADS)

    def answer(data: bytes) -> str:
        return detector.detect(data).model_dump_json(include={"image", "detections"})

    async def detect(request: Request) -> Response:
        # In a thread, so that the event loop reads the next body meanwhile.
        content = await asyncio.get_running_loop().run_in_executor(workers, answer, await request.body())
        return Response(content, media_type="application/json")

    return Starlette(routes=[Route("/detect", detect, methods=["POST"])])


if __name__ == "__main__":
    uvicorn.run(build(), port=port(), loop="uvloop", http="httptools", access_log=False, log_level="warning")
