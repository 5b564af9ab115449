"""Every failure the service can name. Raised where it is found, answered only by `http.problems`.

Each class carries its HTTP `status` and public `code`; the constructor takes the message alone, so that an
instance survives pickling on its way from a replica to the router.
"""


class ServingError(Exception):
    """Base of the family: `detail` is written for the client and is the only text that reaches it."""

    status = 500
    code = "internal_error"
    retry_after_s: int | None = None

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class RefusedImage(ServingError):
    """Base of what a backend finds wrong with the client's image. It says nothing about the backend."""

    status = 422
    code = "invalid_image"


class MalformedRequest(ServingError):
    """The body, a header or a parameter is not what the API documents."""

    status = 400
    code = "malformed_request"


class OverrideRefused(ServingError):
    """`X-Backend` was sent while the policy does not allow it."""

    status = 403
    code = "override_refused"


class UnknownPath(ServingError):
    """No route has this path."""

    status = 404
    code = "not_found"


class MethodNotAllowed(ServingError):
    """The path exists, the method does not."""

    status = 405
    code = "method_not_allowed"


class BodyTimeout(ServingError):
    """The client did not send its body in time."""

    status = 408
    code = "body_timeout"


class TooLarge(RefusedImage):
    """The body or the image is over a configured limit."""

    status = 413
    code = "too_large"


class UnsupportedMediaType(RefusedImage):
    """The API does not accept this content type."""

    status = 415
    code = "unsupported_media_type"


class InvalidImage(RefusedImage):
    """The bytes are not an image that can be decoded."""


class Overloaded(ServingError):
    """All queues are full: nothing was started, the client may try again."""

    status = 503
    code = "overloaded"
    retry_after_s = 1


class BackendUnavailable(ServingError):
    """The backend has no engine, or no replica to run one."""

    status = 503
    code = "backend_unavailable"
    retry_after_s = 5


class EngineFailed(ServingError):
    """The engine raised, or its output cannot be right."""

    status = 503
    code = "engine_failed"
    retry_after_s = 1


class BadOutput(EngineFailed):
    """The engine returned values that are not finite, or arrays of a wrong shape."""


class DeadlineExceeded(ServingError):
    """The time allowed for the request has passed."""

    status = 504
    code = "deadline_exceeded"


class ConfigurationError(ServingError):
    """A setting, a checkpoint or an artifact is wrong; the message names it and the remedy."""

    code = "configuration_error"


class UnreadableModel(ConfigurationError):
    """An engine refuses a model's file. The deployment adds the command that makes a new one."""


def one_line(error: Exception) -> str:
    """Another library's error on one line of at most 200 characters: its text, or its type where it has none."""
    return " ".join(str(error).split())[:200] or type(error).__name__
