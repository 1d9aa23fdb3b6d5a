"""Text files that people edit, in the encodings that editors save them in."""

import codecs
from pathlib import Path

_UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_lines(file: Path) -> list[str]:
    """Read UTF-8 with or without a byte order mark, or UTF-16 with one; raises OSError and
    UnicodeDecodeError."""
    content = file.read_bytes()
    encoding = "utf-16" if content.startswith(_UTF_16_MARKS) else "utf-8-sig"
    return content.decode(encoding).splitlines()
