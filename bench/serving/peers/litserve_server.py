"""The detector behind LitServe, two workers. Run in its own environment by `bench.serving.contenders`."""

from typing import Annotated, Any

import litserve  # type: ignore[import-not-found]
from fastapi import Body

from bench.serving.peers.detector import WORKERS, Detector, port


class DetectApi(litserve.LitAPI):  # type: ignore[misc]
    """The verbs of LitServe; the raw body reaches the worker as it is, and LitServe makes the JSON."""

    def setup(self, device: str) -> None:
        """Load, once in each worker."""
        self.detector = Detector()

    def decode_request(self, request: Annotated[bytes, Body(media_type="image/jpeg")]) -> bytes:
        """Called in the worker."""
        return request

    def predict(self, data: bytes) -> dict[str, Any]:
        """The whole way of an image."""
        return self.detector.answer(data)


if __name__ == "__main__":
    server = litserve.LitServer(
        DetectApi(api_path="/detect"), accelerator="cpu", workers_per_device=WORKERS, timeout=60
    )
    server.run(host="127.0.0.1", port=port(), generate_client_file=False, log_level="warning", access_log=False)
