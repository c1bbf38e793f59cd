"""The text of a file: plain or compressed by gzip, in UTF-8 or in UTF-16 with a byte order mark."""

import codecs
import gzip
import zlib
from pathlib import Path

from tunekit.errors import UserError

MAX_BYTES = 2**30
"""The most bytes of a file, and of its uncompressed content: a small file can unpack to fill any memory."""
GZIP_MAGIC = b"\x1f\x8b"


def check_size(path: Path) -> None:
    """Raise UserError for a file that is missing, empty or too large."""
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    size = path.stat().st_size
    if size == 0:
        raise UserError(f"{path}: the file is empty")
    if size > MAX_BYTES:
        raise UserError(f"{path}: {size} bytes, the limit is {MAX_BYTES}")


def read_text(path: Path) -> tuple[str, list[str]]:
    """Return the text of a file without a byte order mark, and a note where it is not UTF-8.

    A file whose name ends in ``.gz`` is uncompressed. Raises UserError for a file that is missing, empty, too large, or
    broken, and with line and byte for one that is neither UTF-8 nor UTF-16 with a byte order mark.
    """
    check_size(path)
    try:
        content = _unzipped(path) if path.suffix.lower() == ".gz" else path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    if path.suffix.lower() != ".gz" and content.startswith(GZIP_MAGIC):
        raise UserError(f"{path}: compressed by gzip; give it a name that ends in {path.suffix}.gz")
    if content.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        raise UserError(f"{path}, line 1: byte 0x{content[0]:02X} begins UTF-32 text; save the file as UTF-8")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return _decoded(path, content, "utf-16"), ["encoded as UTF-16"]
    text = _decoded(path, content, "utf-8-sig")
    if "\0" in text.partition("\n")[0]:
        raise UserError(f"{path}, line 1: byte 0x00 is no text; save the file as UTF-8 (is it UTF-16?)")
    return text, []


def _unzipped(path: Path) -> bytes:
    """Return the bytes of a file that is compressed by gzip. Raises UserError where it is broken or too large."""
    try:
        with gzip.open(path) as file:
            content = file.read(MAX_BYTES + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path}: broken gzip ({type(error).__name__})") from error
    if len(content) > MAX_BYTES:
        raise UserError(f"{path}: larger than {MAX_BYTES} bytes once unpacked")
    if not content:
        raise UserError(f"{path}: the file is empty")
    return content


def _decoded(path: Path, content: bytes, encoding: str) -> str:
    """Return ``content`` as text. Raises UserError with the line and the byte that is not ``encoding``."""
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        before = content[: error.start].decode(encoding, errors="ignore")
        line, place = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        name = "UTF-8" if encoding == "utf-8-sig" else "UTF-16"
        byte = (
            f"byte 0x{content[error.start]:02X} after {place - 1} characters" if content[error.start :] else "its end"
        )
        raise UserError(f"{path}, line {line}: {byte} is not {name}; save the file as UTF-8") from error
