"""The detector behind BentoML, two workers. Run in its own environment by `bench.serving.contenders`."""

from typing import Annotated, Any

import bentoml  # type: ignore[import-not-found]
from bentoml.validators import ContentType  # type: ignore[import-not-found]

from bench.serving.peers.detector import WORKERS, Detector, port

_QUIET: Any = {"metrics": {"enabled": False}, "logging": {"access": {"enabled": False}}}


@bentoml.service(workers=WORKERS, traffic={"timeout": 60}, **_QUIET)
class Detect:
    """One endpoint; the positional-only argument makes it take the raw body."""

    def __init__(self) -> None:
        self.detector = Detector()

    @bentoml.api(route="/detect")  # type: ignore[untyped-decorator]
    def detect(self, image: Annotated[bytes, ContentType("image/jpeg")], /) -> dict[str, Any]:
        """The whole way of an image."""
        return self.detector.answer(image)


if __name__ == "__main__":
    from bench.serving.peers.bentoml_server import Detect as Named  # the workers import it by this name

    service: Any = Named  # what the decorator made of the class
    service.serve_http(host="127.0.0.1", port=port())
