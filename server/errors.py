"""Every way in which a request can fail: one tree.

    ApiError
    ├── InvalidRequest
    │   ├── UnreadableBody          neither a JSON object nor a form
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
    │   ├── UnsupportedFidelity     `input_fidelity` of a model that has none
    │   ├── EmptyArray
    │   ├── ArrayTooLong
    │   ├── UnsupportedFileType     a file that is no picture of a kind that is taken
    │   ├── InvalidImageFile        a picture that cannot be decoded, or is too large
    │   ├── InvalidMask             a mask that fits no image, or marks nothing
    │   ├── ModelDoesNotExist
    │   └── ModelNotInstalled
    ├── Refused                     by the content policy
    │   ├── ContentPolicyViolation  as the DALL·E names are told of it, and yours
    │   └── ModerationBlocked       as the GPT image names are
    ├── NotJudged                   what the content policy asks for gives no answer
    ├── MissingKey
    ├── WrongKey
    ├── OriginNotAllowed        a web page of another site sent it
    ├── HostNotAllowed          a public host name that is not this server's
    ├── LinkRefused
    │   ├── LinkInvalid
    │   └── LinkExpired
    ├── UnknownPath
    ├── ModelNotFound
    ├── ResultNotFound
    ├── FileNotStored               no such file, or it is another caller's
    ├── MethodNotSupported
    ├── ClientDisconnected          nobody reads the answer
    ├── QueueFull
    ├── RateLimited                 the caller has used what its key may
    ├── Draining
    ├── NoDevice                    every device's worker died again and again
    └── ResultNotStored

Those of the content policy are in `refusals`. What the client is told about each of them, and about
the failures of jobs, is in `answers`.
"""

from collections.abc import Mapping
from math import ceil
from typing import Literal

from server.retries import retry_after_headers

Reason = Literal["queue_images", "queue_seconds", "key_images_per_minute", "key_images_in_queue"]
"""The limits that a request can meet which may be asked again later."""


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
    """The body is not a JSON object, or not a form, or breaks off."""


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


class UnsupportedFidelity(InvalidRequest):
    """`input_fidelity` of a model that does not have it."""


class EmptyArray(InvalidRequest):
    """An array that must have something in it has nothing."""


class ArrayTooLong(InvalidRequest):
    """More items than are taken."""


class UnsupportedFileType(InvalidRequest):
    """A file that is no PNG, JPEG or WebP by its content."""


class InvalidImageFile(InvalidRequest):
    """A picture that is broken, or larger than is taken."""


class InvalidMask(InvalidRequest):
    """A mask without transparency, of another size than its image, or that marks nothing."""


class ModelDoesNotExist(InvalidRequest):
    """weights.yaml does not know the name."""


class ModelNotInstalled(InvalidRequest):
    """weights.yaml knows the name, and nothing that could serve it is installed."""


class MissingKey(ApiError):
    """The server wants a key and the request has none."""


class WrongKey(ApiError):
    """The request's key is not one of the server's."""


class OriginNotAllowed(ApiError):
    """A web page of an origin that is not allowed sent the request."""

    def __init__(self, origin: str) -> None:
        super().__init__(
            f"Web pages of {origin} may not use this server. Its operator can allow an origin with "
            "--cors-origins, for example --cors-origins https://app.example.org."
        )


class HostNotAllowed(ApiError):
    """The Host header names a public host that this server is not known by."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"This server has no keys and is for this machine alone, so it is not served as "
            f"'{name}'. Its operator can name it with --public-url, name the proxy before it with "
            "--trusted-proxies, or add a key."
        )


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


class FileNotStored(ApiError):
    """No file has this id, or it is not the caller's."""


class MethodNotSupported(ApiError):
    """The endpoint exists, for other methods."""

    def __init__(self, allowed: str) -> None:
        methods = " or ".join(m for m in allowed.split(", ") if m not in ("HEAD", "OPTIONS"))
        super().__init__(f"Only {methods} requests are accepted.")
        self.headers = {"Allow": allowed}


class ClientDisconnected(ApiError):
    """Nobody reads the answer any more."""

    def __init__(self) -> None:
        super().__init__("The client closed the connection before it was answered.")


class QueueFull(ApiError):
    """More work is waiting than the server accepts; `wait_s` is when there will be room."""

    def __init__(
        self, wait_s: float, reason: Reason = "queue_images", delay_s: float = 0.0
    ) -> None:
        """The client is told to come back `delay_s` after there is room."""
        self.wait_s, self.reason = wait_s, reason
        seconds = max(1, ceil(wait_s + delay_s))
        super().__init__(f"Rate limit reached: the queue is full. Please try again in {seconds}s.")
        self.headers = retry_after_headers(wait_s + delay_s)


class RateLimited(ApiError):
    """The caller has used up what its key allows."""

    def __init__(
        self,
        reason: Reason,
        where: str,
        limit: int,
        used: float,
        requested: int,
        each_s: float,
        delay_s: float = 0.0,
    ) -> None:
        """Every `each_s` seconds one of the used images comes back; the client is told to come
        back `delay_s` after there are enough of them."""
        self.reason = reason
        self.wait_s = (used + requested - limit) * each_s
        used_up = ceil(used)
        super().__init__(
            f"Rate limit reached for {where}: Limit {limit}, Used {used_up}, "
            f"Requested {requested}. Please try again in {_duration(self.wait_s + delay_s)}."
        )
        self.headers = {
            **retry_after_headers(self.wait_s + delay_s),
            "x-ratelimit-limit-images": str(limit),
            "x-ratelimit-remaining-images": str(limit - used_up),
            "x-ratelimit-reset-images": _duration(used * each_s),
        }


class Draining(ApiError):
    """The server finishes what it has and takes nothing new."""

    def __init__(self) -> None:
        super().__init__("The server is shutting down. Please retry after a brief delay.")


class NoDevice(ApiError):
    """Every device has been set aside: its worker died again and again."""

    def __init__(self) -> None:
        super().__init__("No device of this server works at the moment. Please retry later.")


class ResultNotStored(ApiError):
    """The finished image could not be written to disk."""


def _duration(seconds: float) -> str:
    return f"{ceil(seconds * 1000)}ms" if seconds < 1 else f"{ceil(seconds)}s"
