"""How a request points to its pictures: as files of a form, as data URLs, URLs, or ids of files.

Knows shapes and their refusals; not how what is pointed to is fetched (`inbox`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from server import errors
from server.reading.kinds import echo, wrong_type
from server.reading.uploads import Upload

LONGEST_URL = 20_971_520
"""Characters, of a data URL too."""

_KEYS = ("image_url", "file_id")


@dataclass(frozen=True, slots=True)
class Url:
    """A picture somewhere else."""

    url: str
    param: str


@dataclass(frozen=True, slots=True)
class FileId:
    """A picture that was sent to `/v1/files` before."""

    id: str
    param: str


Reference = Upload | Url | FileId


@dataclass(frozen=True, slots=True)
class Uploads:
    """The files of one name in a form."""

    only_one: bool = False

    def read(self, name: str, value: object) -> Sequence[Reference]:
        """The files, in their order."""
        if not isinstance(value, list):
            raise wrong_type(name, "a file", value)
        return value[:1] if self.only_one else value


@dataclass(frozen=True, slots=True)
class References:
    """An array of `{"image_url": …}` or `{"file_id": …}`."""

    most: int

    def read(self, name: str, value: object) -> Sequence[Reference]:
        """What they point to, in their order."""
        if not isinstance(value, list):
            raise wrong_type(name, "an array", value)
        if not value:
            raise errors.EmptyArray(
                f"Invalid '{name}': empty array. Expected an array with minimum length 1, but got "
                "an empty array instead.",
                name,
            )
        if len(value) > self.most:
            raise too_many(name, self.most, len(value))
        return [_reference(f"{name}[{index}]", item) for index, item in enumerate(value)]


@dataclass(frozen=True, slots=True)
class OneReference:
    """`{"image_url": …}` or `{"file_id": …}`."""

    def read(self, name: str, value: object) -> Sequence[Reference]:
        """What it points to, as a list of one."""
        return [_reference(name, value)]


def too_many(name: str, most: int, got: int) -> errors.ArrayTooLong:
    """The refusal of more items than are taken."""
    return errors.ArrayTooLong(
        f"Invalid '{name}': array too long. Expected an array with maximum length {most}, but got "
        f"an array with length {got} instead.",
        name,
    )


def _reference(param: str, value: object) -> Reference:
    if not isinstance(value, dict):
        raise wrong_type(param, "an object", value)
    sent: dict[str, Any] = {key: item for key, item in value.items() if item is not None}
    for key in sent:
        if key not in _KEYS:
            where = f"{param}.{echo(key)}"
            raise errors.UnknownParameter(f"Unknown parameter: '{where}'.", where)
    if not sent:
        where = f"{param}.image_url"
        raise errors.MissingParameter(f"Missing required parameter: '{where}'.", where)
    if len(sent) > 1:
        raise errors.InvalidValue(
            f"Invalid value for '{param}': give exactly one of 'image_url' and 'file_id'.", param
        )
    ((key, item),) = sent.items()
    return (
        read_url(f"{param}.{key}", item) if key == "image_url" else _file_id(f"{param}.{key}", item)
    )


def read_url(param: str, value: object) -> Reference:
    """The picture of an `image_url`: a data URL, which is open already, or a URL."""
    if isinstance(value, Upload):
        return value
    if not isinstance(value, str):
        raise wrong_type(param, "a string", value)
    if len(value) > LONGEST_URL:
        raise errors.StringTooLong(
            f"Invalid '{param}': string too long. Expected a string with maximum length "
            f"{LONGEST_URL}, but got a string with length {len(value)} instead.",
            param,
        )
    if not value.lower().startswith(("http://", "https://")):
        raise errors.InvalidValue(
            f"Invalid value: '{echo(value)}'. Expected a data URL, for example "
            "'data:image/png;base64,…', or an https URL.",
            param,
        )
    return Url(value, param)


def _file_id(param: str, value: object) -> Reference:
    if not isinstance(value, str):
        raise wrong_type(param, "a string", value)
    return FileId(value, param)
