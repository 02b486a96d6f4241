"""From bytes and JSON to text that is whole, in one place for all sources.

What is no text (bytes that are not UTF-8, one half of a surrogate pair, as JSON may escape it) is refused with its
file and line by `errors="strict"`, and becomes U+FFFD by `errors="replace"`.
"""

import json
import re
from pathlib import Path
from typing import Any

from xfm.errors import XfmError
from xfm.spec import SpecError

ERRORS = ("strict", "replace")
HALF = re.compile("[\ud800-\udfff]")


def check_errors(errors: str) -> None:
    """Raises SpecError for a way that is not one of ERRORS."""
    if errors not in ERRORS:
        raise SpecError(f"errors={errors!r} is not one of {', '.join(ERRORS)}")


def whole(text: str, errors: str, where: Any, field: str = "errors") -> str:
    """A text without halves of surrogate pairs. Raises XfmError that names `where`; `field` is what may be set."""
    half = None if text.isascii() else HALF.search(text)
    if half is None:
        return text
    if errors == "replace":
        return HALF.sub("\ufffd", text)
    raise XfmError(
        f"{where} has half of a surrogate pair, \\u{ord(half[0]):x}, at character {half.start()}, which is no text; "
        f"mend it, or set {field}='replace'"
    )


def decode(raw: bytes, errors: str, where: Any, field: str = "errors") -> str:
    """The text of a value in UTF-8. Raises XfmError that names `where` and the byte."""
    try:
        return _lines(raw.decode("utf-8", errors))
    except UnicodeDecodeError as error:
        raise _not_utf8(where, error.start, error, field) from error


def decode_file(raw: bytes, errors: str, path: Path, line: int = 1, offset: int = 0) -> str:
    """The text of a file, or of a part that begins at `line` and byte `offset`. Errors name the line and the byte."""
    try:
        return _lines(raw.decode("utf-8", errors))
    except UnicodeDecodeError as error:
        number = line + raw.count(b"\n", 0, error.start)
        raise _not_utf8(f"{path}:{number}", offset + error.start, error, "errors") from error


def parsed(text: str, where: Any) -> Any:
    """The value of a JSON text. Raises XfmError that names `where`."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise XfmError(f"{where} is not JSON: {why}") from error


def _lines(text: str) -> str:
    """With `\\n` line ends and no byte order mark."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n")


def _not_utf8(where: Any, byte: int, error: UnicodeDecodeError, field: str) -> XfmError:
    return XfmError(f"{where} is not UTF-8 at byte {byte} ({error.reason}); convert it, or set {field}='replace'")
