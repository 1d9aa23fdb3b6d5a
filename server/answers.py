"""What a client is told about each failure: one table, from exception to answer.

The failures of jobs (`pipelines.core.JobError` and below) are in it beside the tree of `errors`.
It knows statuses and codes; turning them into responses is done in `handlers`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.core import (
    Blocked,
    DoesNotFit,
    JobCancelled,
    JobError,
    JobFailed,
    ModelUnavailable,
    NoDeviceLeft,
    NonFinite,
    UnfitLora,
    UnsupportedTask,
    WorkerLost,
)
from server.errors import (
    ApiError,
    ArrayTooLong,
    BodyTooLarge,
    ClientDisconnected,
    CompressedPng,
    DecimalTooLarge,
    DecimalTooSmall,
    Draining,
    EmptyArray,
    EmptyString,
    FileNotStored,
    HostNotAllowed,
    IntegerTooLarge,
    IntegerTooSmall,
    InvalidImageFile,
    InvalidMask,
    InvalidType,
    InvalidValue,
    LinkExpired,
    LinkInvalid,
    MethodNotSupported,
    MissingKey,
    MissingParameter,
    ModelDoesNotExist,
    ModelNotFound,
    ModelNotInstalled,
    NoDevice,
    NotOneImage,
    OriginNotAllowed,
    QueueFull,
    RateLimited,
    ResultNotFound,
    ResultNotStored,
    StringTooLong,
    UnknownParameter,
    UnknownPath,
    UnreadableBody,
    UnsuitableSize,
    UnsupportedContentType,
    UnsupportedFidelity,
    UnsupportedFileType,
    UnsupportedSize,
    WrongKey,
)
from server.refusals import ContentPolicyViolation, ModerationBlocked, NotJudged


@dataclass(frozen=True, slots=True)
class Answer:
    """How a kind of failure is answered."""

    status: int
    type: str = "invalid_request_error"
    code: str | None = None
    retry: bool = False
    """Whether the same request may succeed later; otherwise clients are told not to try."""
    retry_after_s: int | None = None
    """At least; a client is told up to a third more, by chance."""


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
    UnsupportedFidelity: Answer(400, _USER_ERROR, "invalid_input_fidelity_model"),
    EmptyArray: Answer(400, code="empty_array"),
    ArrayTooLong: Answer(400, code="array_above_max_length"),
    UnsupportedFileType: Answer(400, code="unsupported_file_mimetype"),
    InvalidImageFile: Answer(400, _USER_ERROR, "invalid_image_file"),
    InvalidMask: Answer(400, _USER_ERROR, "invalid_mask_image_format"),
    ModelDoesNotExist: Answer(400, _USER_ERROR, "invalid_value"),
    ModelNotInstalled: Answer(400, _USER_ERROR, "model_not_installed"),
    ContentPolicyViolation: Answer(400, code="content_policy_violation"),
    ModerationBlocked: Answer(400, _USER_ERROR, "moderation_blocked"),
    NotJudged: Answer(503, _UNAVAILABLE, "policy_unavailable", retry=True, retry_after_s=5),
    MissingKey: Answer(401),
    WrongKey: Answer(401, code="invalid_api_key"),
    OriginNotAllowed: Answer(403, code="origin_not_allowed"),
    HostNotAllowed: Answer(403, code="host_not_allowed"),
    LinkInvalid: Answer(403, code="link_invalid"),
    LinkExpired: Answer(403, code="link_expired"),
    UnknownPath: Answer(404),
    ModelNotFound: Answer(404, code="model_not_found"),
    ResultNotFound: Answer(404, code="result_not_found"),
    FileNotStored: Answer(404, code="file_not_found"),
    MethodNotSupported: Answer(405, code="method_not_supported"),
    ClientDisconnected: Answer(499),
    QueueFull: Answer(429, "requests", "rate_limit_exceeded", retry=True),
    RateLimited: Answer(429, "requests", "rate_limit_exceeded", retry=True),
    Draining: _LATER,
    NoDevice: Answer(503, _UNAVAILABLE, "no_device", retry=True, retry_after_s=45),
    ResultNotStored: Answer(500, "server_error", retry=True),
    JobCancelled: _LATER,
    JobFailed: Answer(500, "server_error"),
    UnsupportedTask: Answer(400, code="invalid_value"),
    UnfitLora: Answer(400, code="invalid_value"),
    NonFinite: Answer(500, "server_error", "non_finite_values"),
    DoesNotFit: Answer(500, "server_error", "insufficient_memory"),
    Blocked: Answer(400, code="content_policy_violation"),
    ModelUnavailable: Answer(503, _UNAVAILABLE, "model_unavailable"),
    WorkerLost: Answer(500, "server_error"),
    NoDeviceLeft: Answer(503, _UNAVAILABLE, "no_device", retry=True, retry_after_s=60),
    Exception: Answer(500, "server_error", retry=True),
}

_MESSAGES: Mapping[type[JobError], str] = {
    JobCancelled: "The server gave this request up. Please retry after a brief delay.",
    DoesNotFit: "This image needs more memory than the server has; {0.width}x{0.height} would fit.",
    NonFinite: (
        "The image could not be made: the {0.source} returned NaN or infinite values. {0.remedy}"
    ),
    UnsupportedTask: "The model that serves this request cannot do what it asks for ('{0.task}'), "
    "although its entry in weights.yaml says so under 'tasks'.",
    UnfitLora: "The LoRA '{0.name}' does not fit this model: {0.reason}.",
    Blocked: "The image that was made is not allowed by this server's content policy.",
    ModelUnavailable: "The model could not be loaded. The server's log says why.",
    NoDeviceLeft: "No device of this server works at the moment. Please retry later.",
    WorkerLost: "The server's worker process died each time it ran this request alone. Please do "
    "not retry it unchanged; the server's log says more.",
}
_SORRY = "The server had an error processing your request. Sorry about that!"


def answer(error: Exception) -> Answer:
    """The table's row for an error, or for its nearest ancestor there."""
    return next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)


def message(error: Exception) -> str:
    """What the client may read of an error: never the inside of the server."""
    if isinstance(error, ApiError):
        return error.message
    text = next((text for kind, text in _MESSAGES.items() if isinstance(error, kind)), _SORRY)
    return text.format(error)
