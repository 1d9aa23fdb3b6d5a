"""The bundle as a stream of bytes: a tar in which every byte is known before it is read, or hashed.

First comes a description of all that follows, its signature if it has one, and the sha256 of these.
From then on each header and each padding must be exactly what follows from the description, and
each file has the hash that it names. So there is nothing to parse that could lead elsewhere: a
link, a device or another path is simply not what must come next. Any tar program can list a bundle.
"""

import hashlib
import tarfile
from collections.abc import Callable, Iterable, Iterator

from pipelines.weights.manifest import Advance, WeightsError

DESCRIPTION = "darkroom-bundle.json"
SIGNATURE = f"{DESCRIPTION}.minisig"
DIGEST = "darkroom-bundle.sha256"
END = bytes(2 * tarfile.BLOCKSIZE)

_BLOCK = 1 << 22
_SMALL = 256 << 20


class BrokenBundle(WeightsError):
    """A bundle is not what its maker wrote."""


def header(name: str, size: int) -> bytes:
    """The one header that a file of this name and size has in a bundle."""
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict")


def padding(size: int) -> bytes:
    """What fills up a file to whole blocks."""
    return bytes(-size % tarfile.BLOCKSIZE)


def length(files: Iterable[tuple[str, int]]) -> int:
    """Bytes of the members of a tar, given by name and size, without its end."""
    return sum(len(header(name, size)) + size + len(padding(size)) for name, size in files)


class Writer:
    """Members, one after the other."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._digest = hashlib.sha256()

    def small(self, name: str, content: bytes) -> None:
        """A member of the beginning, which the digest covers."""
        member = header(name, len(content)) + content + padding(len(content))
        self._digest.update(member)
        self._write(member)

    def digest(self) -> None:
        """The end of the beginning."""
        self.small(DIGEST, self._digest.hexdigest().encode())

    def file(self, name: str, size: int, blocks: Iterable[bytes]) -> None:
        """A member whose hash the description has."""
        self._write(header(name, size))
        for block in blocks:
            self._write(block)
        self._write(padding(size))

    def end(self) -> None:
        """Nothing follows."""
        self._write(END)


class Reader:
    """Members, each of which must be the one that comes next; BrokenBundle if it is not."""

    def __init__(self, read: Callable[[int], bytes], advance: Advance) -> None:
        self._source, self._advance = read, advance
        self._digest = hashlib.sha256()

    def small(self, name: str) -> bytes:
        """A member of the beginning, of whatever size it says."""
        head = self._exactly(tarfile.BLOCKSIZE)
        try:
            size = tarfile.TarInfo.frombuf(head, "utf-8", "strict").size
        except (tarfile.HeaderError, UnicodeDecodeError):
            size = -1
        if not 0 <= size <= _SMALL or head != header(name, size):
            raise BrokenBundle(f"this is no bundle of darkroom's: {name} should come here")
        content = self._exactly(size)
        self._digest.update(head + content + padding(size))
        self._expect(padding(size))
        return content

    def digest(self) -> None:
        """Check the beginning."""
        digest = self._digest.hexdigest().encode()
        if self.small(DIGEST) != digest:
            raise BrokenBundle("the bundle's description was changed")

    def file(self, name: str, size: int) -> Iterator[bytes]:
        """The content of a member, in blocks; its hash is for the caller to check."""
        self._expect(header(name, size))
        left = size
        while left:
            block = self._exactly(min(left, _BLOCK))
            left -= len(block)
            yield block
        self._expect(padding(size))

    def end(self) -> None:
        """Check that nothing follows."""
        self._expect(END)
        if self._source(1):
            raise BrokenBundle("something follows the end of the bundle")

    def _expect(self, known: bytes) -> None:
        if known and self._exactly(len(known)) != known:
            raise BrokenBundle("the bundle was changed, or put together by something else")

    def _exactly(self, count: int) -> bytes:
        parts = []
        left = count
        while left and (part := self._source(min(left, _BLOCK))):
            parts.append(part)
            left -= len(part)
        if left:
            raise BrokenBundle("the bundle is cut short: is a part of it missing?")
        self._advance(count)
        return parts[0] if len(parts) == 1 else b"".join(parts)
