"""Text files as people save them: gzipped or not, in the encodings that Excel and Notepad write."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from pathlib import Path

from simfl.errors import TraceError, first_line
from simfl.files import read_file

#: Larger files are refused, and so is what unpacks to more.
MOST_BYTES = 2**30

#: Marks at the beginning of a file; that of UTF-32 begins as one of UTF-16 does, so it is first.
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def read_text(path: Path) -> str:
    """UTF-8, or what a byte-order mark says. Raises TraceError."""
    data = _unpacked(path)
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise TraceError(
            f"{path}: byte {error.start} is not {encoding.upper()[:6]}; save the file as UTF-8"
        ) from error
    if "\0" in text:
        raise TraceError(f"{path}: has NUL characters, as UTF-16 without a mark; save it as UTF-8")
    return text


def _unpacked(path: Path) -> bytes:
    data = read_file(path, MOST_BYTES, TraceError)
    if path.suffix == ".gz":
        try:
            with gzip.open(io.BytesIO(data)) as file:
                data = file.read(MOST_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise TraceError(f"{path}: not a readable gzip file ({first_line(error)})") from error
    if len(data) > MOST_BYTES:
        raise TraceError(f"{path}: more than {MOST_BYTES:,} bytes of text")
    return data
