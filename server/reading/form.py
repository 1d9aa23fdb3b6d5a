"""Reading a multipart form: parts in any order, every limit enforced while reading.

Knows bytes, boundaries and names of parts; not what the parameters in them mean, nor whether a
file is the picture that it should be.
"""

import codecs
import encodings
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from encodings.aliases import aliases
from pkgutil import iter_modules

from multipart import (
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
    parse_options_header,
)
from starlette.requests import Request

from server import errors
from server.reading.body import chunks, refuse_length
from server.reading.kinds import FormText, echo
from server.reading.references import too_many
from server.reading.spool import Scratch, Sent
from server.reading.uploads import Upload

MOST_BYTES = 256 << 20
"""Of a whole form."""
MOST_FILE_BYTES = 50 << 20
"""Of one file in it."""
MOST_TEXT_BYTES = 1 << 20
"""Of all texts in it together."""
MOST_PARTS = 100
MOST_BOUNDARY = 200
"""Characters; RFC 2046 allows 70."""
NULL = b"null"
"""What a part says that might as well have been left out, as in JSON."""
MOST_HEADER_BYTES = 4096
_CHARSET_FIELD = "_charset_"
"""A field in which browsers tell the charset of the other fields, if the form has it."""
_MAX_CHARSET_LENGTH = 64
_CODECS = frozenset(aliases) | {module.name for module in iter_modules(encodings.__path__)}
_NOT_FOR_TEXTS = frozenset(
    {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"}
)
"""Codecs of Python that are no charsets of texts on the web."""
_CHARSETS = {"ascii": "utf-8-sig", "utf-8": "utf-8-sig", "iso8859-1": "cp1252"}
"""The codec by which a declared charset is read: a superset, as in browsers."""

_UNREADABLE = (
    "We could not parse the multipart form of your request. (HINT: This likely means you aren't "
    "using your HTTP library correctly. The API expects multipart/form-data, but what was sent was "
    "not a valid form: {reason}.)"
)


@dataclass(slots=True)
class _Form:
    """What has been read of a form so far: texts and files by name."""

    opened: ExitStack
    texts: dict[str, "_Text"] = field(default_factory=dict)
    files: dict[str, list[Upload]] = field(default_factory=dict)

    @property
    def parameters(self) -> dict[str, object]:
        """Everything as a table of parameters reads it; the text "null" is what JSON's null is."""
        texts = dict(self.texts)
        default = texts.pop(_CHARSET_FIELD, None)
        charset = default.data.decode("latin-1") if default and default.data else "utf-8"
        values = {name: it.value(charset) for name, it in texts.items() if it.data != NULL}
        return values | dict(self.files)

    def keep(self, upload: Upload, name: str, most: int) -> None:
        """Take in a file; raises ArrayTooLong for one more than may be there."""
        self.opened.callback(upload.file.close)
        files = self.files.setdefault(name, [])
        files.append(upload)
        if len(files) > most:
            raise too_many(name, most, len(files))

    def drop(self, upload: Upload, name: str) -> None:
        """A file that was none."""
        self.files[name].remove(upload)
        if not self.files[name]:
            del self.files[name]


async def read_form(request: Request, scratch: Scratch, files: Mapping[str, int]) -> Sent:
    """The form in the body, with at most so many `files` of each name; raises an InvalidRequest.

    A name decides whether a part is a file: `image`, `image[]` and `image[0]` are all `image`.
    """
    refuse_length(request, MOST_BYTES)
    parser = _parser(request.headers.get("content-type", ""))
    with ExitStack() as opened:
        form = _Form(opened)
        try:
            await _fill(form, parser, chunks(request, MOST_BYTES), scratch, files)
        except MultipartError as error:
            raise _unreadable(str(error) or "it is malformed") from None
        _number(form)
        return Sent(form.parameters, opened.pop_all())


def _parser(content_type: str) -> PushMultipartParser:
    _, options = parse_options_header(content_type)
    boundary = options.get("boundary", "")
    if not 0 < len(boundary) <= MOST_BOUNDARY:
        raise _unreadable(f"its boundary must have 1 to {MOST_BOUNDARY} characters")
    try:
        return PushMultipartParser(
            boundary.encode("latin-1"),
            max_header_size=MOST_HEADER_BYTES,
            max_segment_count=MOST_PARTS,
            header_charset="latin-1",  # accepts every byte; `_header_text` decodes the values
        )
    except (MultipartError, UnicodeEncodeError):
        raise _unreadable("its boundary has characters that no boundary may have") from None


async def _fill(
    form: _Form,
    parser: PushMultipartParser,
    body: AsyncIterator[bytes],
    scratch: Scratch,
    files: Mapping[str, int],
) -> None:
    part: _Text | _File | None = None
    texts_left = MOST_TEXT_BYTES
    async for chunk in body:
        for event in parser.parse(chunk):
            if isinstance(event, MultipartSegment):
                part = _begin(form, event, scratch, files)
            elif event is None:
                assert part is not None
                part.end(form)
            elif isinstance(part, _File):
                await part.add(bytes(event), scratch)
            elif isinstance(part, _Text):
                texts_left -= len(event)
                part.add(bytes(event), texts_left)
    parser.close()


def _begin(
    form: _Form, segment: MultipartSegment, scratch: Scratch, files: Mapping[str, int]
) -> "_Text | _File":
    sent = _header_text(segment.name)
    name = re.sub(r"\[\d{0,4}\]$", "", sent)
    if name not in files:
        return _Text(sent, segment.charset)
    upload = Upload(
        scratch.new(),
        param=sent,
        declared=segment.content_type or "application/octet-stream",
        filename=_header_text(segment.filename),
    )
    form.keep(upload, name, files[name])
    return _File(name, upload)


@dataclass(slots=True)
class _Text:
    name: str
    charset: str | None
    data: bytearray = field(default_factory=bytearray)

    def value(self, default: str) -> FormText | bytes:
        """The text, or the bytes of what is none; raises UnreadableBody for a wrong charset."""
        charset = (self.charset or default).strip()
        try:
            codec = _codec(charset)
            return FormText(self.data.decode(_CHARSETS.get(codec, codec)))
        except LookupError:
            wrong = "is not known"
        except ValueError:
            if self.charset is None:
                return bytes(self.data)
            wrong = "is not that of its bytes"
        raise errors.UnreadableBody(
            _UNREADABLE.format(
                reason=f"the charset '{echo(charset)}' of the text '{echo(self.name)}' {wrong}; "
                "UTF-8 needs no charset"
            ),
            echo(self.name),
        )

    def add(self, data: bytes, left: int) -> None:
        self.data += data
        if left < 0:
            raise errors.BodyTooLarge(
                f"The texts of this form are too large: the limit is {MOST_TEXT_BYTES} bytes.",
                echo(self.name),
            )

    def end(self, form: _Form) -> None:
        if self.name in form.texts:
            raise _unreadable(f"'{echo(self.name)}' occurs twice")
        form.texts[self.name] = self


@dataclass(slots=True)
class _File:
    name: str
    upload: Upload
    size: int = 0

    async def add(self, data: bytes, scratch: Scratch) -> None:
        self.size += len(data)
        if self.size > MOST_FILE_BYTES:
            raise errors.BodyTooLarge(
                f"Invalid '{self.name}': the file is too large. The limit is "
                f"{MOST_FILE_BYTES >> 20} MB.",
                self.name,
            )
        await scratch.write(self.upload.file, data)

    def end(self, form: _Form) -> None:
        file = self.upload.file
        file.seek(0)
        # Browsers send an empty file field as a part without a file name and without content.
        if not self.upload.filename and file.read(len(NULL) + 1) in (NULL, b""):
            form.drop(self.upload, self.name)
        file.seek(0)


def _codec(charset: str) -> str:
    """The name of Python's codec for a charset; raises LookupError."""
    if len(charset) > _MAX_CHARSET_LENGTH:
        raise LookupError
    name = encodings.normalize_encoding(charset).lower()
    # Python caches every name that is looked up, also unknown ones, and never evicts any.
    if name not in _CODECS or (codec := codecs.lookup(name).name) in _NOT_FOR_TEXTS:
        raise LookupError
    return codec


def _header_text(value: str | None) -> str:
    """A name in a part's header: UTF-8, or else Latin-1, as which all of it was read."""
    with suppress(UnicodeDecodeError):
        return (value or "").encode("latin-1").decode("utf-8")
    return value or ""


def _number(form: _Form) -> None:
    """Give each file the name by which a refusal points to it: `image`, or `image[0]` of a list."""
    for name, uploads in form.files.items():
        alone = len(uploads) == 1 and uploads[0].param == name
        for index, upload in enumerate(uploads):
            upload.param = name if alone else f"{name}[{index}]"
            upload.number = index + 1


def _unreadable(reason: str) -> errors.UnreadableBody:
    return errors.UnreadableBody(_UNREADABLE.format(reason=reason))
