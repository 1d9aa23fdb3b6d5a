"""The hub: what a repository holds at a commit, and its files, fetched with patience.

Goes on where a connection broke, also in a later run; waits as long as the hub asks, within
reason. Knows HTTP through huggingface_hub's client; not which files are wanted, nor why.
"""

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import httpx2
from huggingface_hub import HfApi, constants, get_token, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

from pipelines.weights.manifest import Advance, Record, WeightsError, hash_file

FAILURES = 5
"""How often in a row a request may fail without a byte gained."""

LONGEST_WAIT_S = 300
"""A hub that asks for more patience than that is told of instead."""

_TIMEOUT_S = 30
_PASSING = frozenset({408, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file in a repository: bytes, and the sha256 or git's name for its content."""

    size: int
    sha256: str | None
    blob: str | None


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository at one commit."""

    repository: str
    revision: str
    files: dict[str, RemoteFile]


class _Passing(Exception):
    """A failure that may be gone at the next try, after `wait_s` if the hub says so."""

    def __init__(self, what: str, wait_s: float | None = None) -> None:
        super().__init__(what)
        self.wait_s = wait_s


def look(repository: str, revision: str | None = None) -> Remote:
    """What a repository holds now, or at a branch, tag or commit; raises WeightsError."""
    constants.HF_HUB_DISABLE_TELEMETRY = True  # it would tell which versions are installed here
    found: list[Remote] = []

    def ask() -> None:
        info = HfApi().model_info(
            repository, revision=revision, files_metadata=True, timeout=_TIMEOUT_S
        )
        files = {
            it.rfilename: RemoteFile(it.size or 0, it.lfs.sha256 if it.lfs else None, it.blob_id)
            for it in info.siblings or ()
        }
        found.append(Remote(repository, info.sha or "", files))

    with _told(repository):
        _persist(ask, lambda: 0, threading.Event())
    return found[0]


def fetch(remote: Remote, path: str, file: Path, advance: Advance, stop: threading.Event) -> Record:
    """Make `file` the remote file, beginning with what of it is there; raises WeightsError.

    What could be read is kept when it fails. A file of another content is fetched once more.
    """
    expected = remote.files[path]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    for fetched_anew in (False, True):
        if file.stat().st_size > expected.size:
            _empty(file, lambda _: None)
        advance(file.stat().st_size)
        with _told(remote.repository):
            _persist(
                lambda: _stream(remote, path, file, advance, stop),
                lambda: file.stat().st_size,
                stop,
            )
        if record := right(file, expected):
            return record
        _empty(file, advance)
        if fetched_anew:
            break
    raise WeightsError(f"{remote.repository}: {path} has another hash than the hub says")


def right(file: Path, expected: RemoteFile) -> Record | None:
    """What a file is, if that is what the hub says; reads it."""
    record = hash_file(file)
    if expected.sha256 is not None:
        return record if record.sha256 == expected.sha256 else None
    content = file.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    return record if blob == expected.blob else None


def _stream(remote: Remote, path: str, file: Path, advance: Advance, stop: threading.Event) -> None:
    """The rest of a file, as far as the connection carries."""
    size, at = remote.files[path].size, file.stat().st_size
    if at == size:
        return
    url = hf_hub_url(remote.repository, path, revision=remote.revision)
    headers = build_hf_headers() | {"Range": f"bytes={at}-", "Accept-Encoding": "identity"}
    with get_session().stream("GET", url, headers=headers, timeout=_TIMEOUT_S) as answer:
        if not answer.is_success:
            answer.read()
            hf_raise_for_status(answer)
        if answer.status_code != 206:
            _empty(file, advance)
        with file.open("ab") as out:
            for chunk in answer.iter_raw():
                out.write(chunk)
                advance(len(chunk))
                if stop.is_set():
                    raise _Passing("it was stopped")
                if out.tell() > size:
                    raise WeightsError(f"{path} is larger than the {size} bytes the hub says")
    if file.stat().st_size < size:
        raise _Passing("the connection ended early")


def _persist(attempt: Callable[[], None], gained: Callable[[], int], stop: threading.Event) -> None:
    """Try again after failures that pass, with growing pauses, as long as something is gained."""
    failures, had = 0, gained()
    while not stop.is_set():
        try:
            with _passing():
                return attempt()
        except _Passing as failure:
            failures = failures + 1 if gained() <= had else 1
            had = gained()
            wait_s = failure.wait_s if failure.wait_s is not None else 2.0 ** (failures - 1)
            if wait_s > LONGEST_WAIT_S:
                raise WeightsError(f"the hub asks to come back in {wait_s:.0f} s") from None
            if failures > FAILURES:
                raise WeightsError(
                    f"{failure}, {failures} times in a row; what was fetched is kept, "
                    "and the same command goes on from there"
                ) from None
            stop.wait(wait_s)
    raise WeightsError("it was stopped")


@contextmanager
def _passing() -> Iterator[None]:
    try:
        yield
    except httpx2.TransportError as error:
        what = str(error) or type(error).__name__
        raise _Passing(f"{constants.ENDPOINT}: {what}") from error
    except HfHubHTTPError as error:
        if error.response.status_code not in _PASSING:
            raise
        asked = error.response.headers.get("Retry-After", "")
        status = f"the hub answered {error.response.status_code}"
        raise _Passing(status, float(asked) if asked.isdigit() else None) from error


@contextmanager
def _told(repository: str) -> Iterator[None]:
    try:
        yield
    except (HfHubHTTPError, HFValidationError, OfflineModeIsEnabled) as error:
        _explain(repository, error)
    except OSError as error:
        raise WeightsError(f"{repository}: cannot be written: {error.strerror}") from error


def _explain(repository: str, error: Exception) -> NoReturn:
    place = f"{constants.ENDPOINT}/{repository}"
    identity = "`hf auth login`, or HF_TOKEN in the environment"
    match error:
        case GatedRepoError() if get_token():
            text = f"{repository} is gated: ask for access at {place} with the account of the token"
        case GatedRepoError():
            text = (
                f"{repository} is gated: ask for access at {place}, then give a token: {identity}"
            )
        case RevisionNotFoundError():
            text = f"{repository} has no such revision"
        case HfHubHTTPError() if _is_unknown(error):
            text = f"there is no {place}, or it is private and needs a token: {identity}"
        case OfflineModeIsEnabled():
            text = "HF_HUB_OFFLINE forbids to reach the hub; pull on a machine without it"
        case HfHubHTTPError() if error.response.status_code == 401:
            text = f"{place} refused the token: {identity}"
        case HfHubHTTPError():
            text = f"{place} was refused with {error.response.status_code}"
        case _:
            text = str(error)
    raise WeightsError(text) from error


def _is_unknown(error: HfHubHTTPError) -> bool:
    """Strangers are told 401 of what does not exist, too."""
    hidden = error.response.status_code == 401 and get_token() is None
    return hidden or isinstance(error, RepositoryNotFoundError)


def _empty(file: Path, advance: Advance) -> None:
    advance(-file.stat().st_size)
    file.write_bytes(b"")
