"""The detector behind MLServer, two workers. Run in its own environment by `bench.serving.contenders`."""

import asyncio
from typing import Annotated, Any

from fastapi import Body
from mlserver import MLModel, MLServer, ModelSettings, Settings  # type: ignore[import-not-found]
from mlserver.handlers import custom_handler  # type: ignore[import-not-found]

from bench.serving.peers.detector import WORKERS, Detector, port


class DetectRuntime(MLModel):  # type: ignore[misc]
    """A model with a handler of its own: MLServer's own protocol would wrap the image in JSON."""

    async def load(self) -> bool:
        """Called once in each worker."""
        self.detector = Detector()
        return True

    @custom_handler(rest_path="/detect")  # type: ignore[untyped-decorator]
    async def detect(self, image: Annotated[bytes, Body(media_type="image/jpeg")]) -> dict[str, Any]:
        """The whole way of an image, off the worker's event loop."""
        return await asyncio.to_thread(self.detector.answer, image)


async def _serve(name: str) -> None:
    ports = {"http_port": port(), "grpc_port": port(1), "metrics_port": port(2)}
    settings = Settings(host="127.0.0.1", **ports, parallel_workers=WORKERS, debug=False, gzip_enabled=False)
    await MLServer(settings).start([ModelSettings(name="detect", implementation=f"{name}.{DetectRuntime.__name__}")])


if __name__ == "__main__":
    asyncio.run(_serve(__spec__.name))  # its workers import the model by this name
