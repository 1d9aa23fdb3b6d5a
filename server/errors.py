"""Every way in which a request can fail, and the one table of what the client is told about it.

    ApiError
    ├── InvalidRequest
    │   ├── UnreadableBody          not JSON, or JSON that is not an object
    │   ├── UnsupportedContentType
    │   ├── BodyTooLarge
    │   ├── MissingParameter
    │   ├── UnknownParameter
    │   ├── InvalidType
    │   ├── InvalidValue
    │   ├── EmptyString
    │   ├── StringTooLong
    │   ├── IntegerTooSmall
    │   ├── IntegerTooLarge
    │   ├── DecimalTooSmall
    │   ├── DecimalTooLarge
    │   ├── NotOneImage             n > 1 where the profile makes one
    │   ├── UnsupportedSize         a size that is not on a DALL·E profile's list
    │   ├── UnsuitableSize          a free size that breaks the rules for free sizes
    │   ├── CompressedPng
    │   ├── ModelDoesNotExist
    │   └── ModelNotInstalled
    ├── MissingKey
    ├── WrongKey
    ├── LinkRefused
    │   ├── LinkInvalid
    │   └── LinkExpired
    ├── UnknownPath
    ├── ModelNotFound
    ├── ResultNotFound
    ├── MethodNotSupported
    ├── ClientDisconnected          nobody reads the answer
    ├── QueueFull
    ├── Draining
    └── ResultNotStored

The failures of jobs (`pipelines.core.JobError` and below) are in the table as well. It knows
statuses and codes; turning them into responses is done in `handlers`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from pipelines.core import (
    DoesNotFit,
    JobCancelled,
    JobError,
    JobFailed,
    ModelUnavailable,
    WorkerLost,
)


class ApiError(Exception):
    """A failure that is told to the client: what went wrong, and which parameter is at fault."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.headers: Mapping[str, str] = {}


class InvalidRequest(ApiError):
    """The request asks for something that it cannot have."""


class UnreadableBody(InvalidRequest):
    """The body is not JSON, or not a JSON object."""


class UnsupportedContentType(InvalidRequest):
    """The body is of a type that this endpoint does not take."""


class BodyTooLarge(InvalidRequest):
    """The body is larger than any honest request."""


class MissingParameter(InvalidRequest):
    """A required parameter is absent or null."""


class UnknownParameter(InvalidRequest):
    """The profile of the model has no such parameter."""


class InvalidType(InvalidRequest):
    """A parameter is, for example, a string where it should be an integer."""


class InvalidValue(InvalidRequest):
    """A parameter has the right type and a value that cannot be served."""


class EmptyString(InvalidRequest):
    """A text that must say something is empty."""


class StringTooLong(InvalidRequest):
    """A text is longer than the profile allows."""


class IntegerTooSmall(InvalidRequest):
    """An integer is below its range."""


class IntegerTooLarge(InvalidRequest):
    """An integer is above its range."""


class DecimalTooSmall(InvalidRequest):
    """A number is below its range."""


class DecimalTooLarge(InvalidRequest):
    """A number is above its range."""


class NotOneImage(InvalidRequest):
    """More than one image of a model that makes one at a time."""


class UnsupportedSize(InvalidRequest):
    """A size that is not on the short list of a DALL·E model."""


class UnsuitableSize(InvalidRequest):
    """A freely chosen size that breaks the rules for such sizes."""


class CompressedPng(InvalidRequest):
    """A PNG cannot be compressed with loss."""


class ModelDoesNotExist(InvalidRequest):
    """weights.yaml does not know the name."""


class ModelNotInstalled(InvalidRequest):
    """weights.yaml knows the name, and nothing that could serve it is installed."""


class MissingKey(ApiError):
    """The server wants a key and the request has none."""


class WrongKey(ApiError):
    """The request's key is not one of the server's."""


class LinkRefused(ApiError):
    """A result's link does not open it."""


class LinkInvalid(LinkRefused):
    """The link was not signed by this server, or was changed since."""


class LinkExpired(LinkRefused):
    """The link was good once."""


class UnknownPath(ApiError):
    """There is no such endpoint."""


class ModelNotFound(ApiError):
    """`GET /v1/models/{id}` of an unknown name."""


class ResultNotFound(ApiError):
    """The link is good, and its file is gone."""


class MethodNotSupported(ApiError):
    """The endpoint exists, for other methods."""

    def __init__(self, allowed: str) -> None:
        methods = " or ".join(m for m in allowed.split(", ") if m != "HEAD")
        super().__init__(f"Only {methods} requests are accepted.")
        self.headers = {"Allow": allowed}


class ClientDisconnected(ApiError):
    """Nobody reads the answer any more."""

    def __init__(self) -> None:
        super().__init__("The client closed the connection before it was answered.")


class QueueFull(ApiError):
    """More work is waiting than the server accepts; `wait_s` is when there will be room."""

    def __init__(self, wait_s: float) -> None:
        self.wait_s = wait_s
        seconds = max(1, ceil(wait_s))
        super().__init__(f"Rate limit reached: the queue is full. Please try again in {seconds}s.")
        self.headers = {"Retry-After": str(seconds)}


class Draining(ApiError):
    """The server finishes what it has and takes nothing new."""

    def __init__(self) -> None:
        super().__init__("The server is shutting down. Please retry after a brief delay.")


class ResultNotStored(ApiError):
    """The finished image could not be written to disk."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a kind of failure is answered."""

    status: int
    type: str = "invalid_request_error"
    code: str | None = None
    retry: bool = False
    """Whether the same request may succeed later; otherwise clients are told not to try."""
    retry_after_s: int | None = None


_USER_ERROR = "image_generation_user_error"
_UNAVAILABLE = "service_unavailable_error"
_LATER = Answer(503, _UNAVAILABLE, "server_is_overloaded", retry=True, retry_after_s=5)

TABLE: Mapping[type[Exception], Answer] = {
    UnreadableBody: Answer(400),
    UnsupportedContentType: Answer(400, code="unsupported_content_type"),
    BodyTooLarge: Answer(413, code="request_too_large"),
    MissingParameter: Answer(400, code="missing_required_parameter"),
    UnknownParameter: Answer(400, code="unknown_parameter"),
    InvalidType: Answer(400, code="invalid_type"),
    InvalidValue: Answer(400, code="invalid_value"),
    EmptyString: Answer(400, code="empty_string"),
    StringTooLong: Answer(400, code="string_above_max_length"),
    IntegerTooSmall: Answer(400, code="integer_below_min_value"),
    IntegerTooLarge: Answer(400, code="integer_above_max_value"),
    DecimalTooSmall: Answer(400, code="decimal_below_min_value"),
    DecimalTooLarge: Answer(400, code="decimal_above_max_value"),
    NotOneImage: Answer(400),
    UnsupportedSize: Answer(400, code="invalid_size"),
    UnsuitableSize: Answer(400, _USER_ERROR, "invalid_value"),
    CompressedPng: Answer(400, _USER_ERROR, "invalid_png_output_compression"),
    ModelDoesNotExist: Answer(400, _USER_ERROR, "invalid_value"),
    ModelNotInstalled: Answer(400, _USER_ERROR, "model_not_installed"),
    MissingKey: Answer(401),
    WrongKey: Answer(401, code="invalid_api_key"),
    LinkInvalid: Answer(403, code="link_invalid"),
    LinkExpired: Answer(403, code="link_expired"),
    UnknownPath: Answer(404),
    ModelNotFound: Answer(404, code="model_not_found"),
    ResultNotFound: Answer(404, code="result_not_found"),
    MethodNotSupported: Answer(405, code="method_not_supported"),
    ClientDisconnected: Answer(499),
    QueueFull: Answer(429, "requests", "rate_limit_exceeded", retry=True),
    Draining: _LATER,
    ResultNotStored: Answer(500, "server_error", retry=True),
    JobCancelled: _LATER,
    JobFailed: Answer(500, "server_error"),
    DoesNotFit: Answer(500, "server_error", "insufficient_memory"),
    ModelUnavailable: Answer(503, _UNAVAILABLE, "model_unavailable"),
    WorkerLost: Answer(500, "server_error"),
    Exception: Answer(500, "server_error", retry=True),
}

_MESSAGES: Mapping[type[JobError], str] = {
    JobCancelled: "The server gave this request up. Please retry after a brief delay.",
    DoesNotFit: "This image needs more memory than the server has. Ask for a smaller size.",
    ModelUnavailable: "The model could not be loaded. The server's log says why.",
}
_SORRY = "The server had an error processing your request. Sorry about that!"


def answer(error: Exception) -> Answer:
    """The table's row for an error, or for its nearest ancestor there."""
    return next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)


def message(error: Exception) -> str:
    """What the client may read of an error: never the inside of the server."""
    if isinstance(error, ApiError):
        return error.message
    return next((text for kind, text in _MESSAGES.items() if isinstance(error, kind)), _SORRY)
