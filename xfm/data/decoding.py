"""From bytes and JSON to valid Unicode text, in one module for all sources.

Input may hold bytes that are not UTF-8, or a lone surrogate (half of a surrogate pair, which JSON can escape).
`errors="strict"` raises an error that names the file and the line; `errors="replace"` puts U+FFFD there.
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
    """Checks the setting `errors`. Raises SpecError if it is not one of ERRORS."""
    if errors not in ERRORS:
        raise SpecError(f"errors={errors!r} is not one of {', '.join(ERRORS)}")


def whole(text: str, errors: str, where: Any, field: str = "errors") -> str:
    """The text without lone surrogates: unchanged if it has none, else with each one replaced by U+FFFD.

    errors: "strict" or "replace".  where: the text's origin, for the error.  field: the setting that the error advises
    to change.  Raises XfmError for a lone surrogate if `errors` is "strict".
    """
    half = None if text.isascii() else HALF.search(text)
    if half is None:
        return text
    if errors == "replace":
        return HALF.sub("\ufffd", text)
    raise XfmError(
        f"{where} has half of a surrogate pair, \\u{ord(half[0]):x}, at character {half.start()}, which is not valid "
        f"text; correct it, or set {field}='replace'"
    )


def decode(raw: bytes, errors: str, where: Any, field: str = "errors") -> str:
    """The text of a value in UTF-8; arguments as in `whole`. Raises XfmError that names `where` and the byte."""
    try:
        return _lines(raw.decode("utf-8", errors))
    except UnicodeDecodeError as error:
        raise _not_utf8(where, error.start, error, field) from error


def decode_file(raw: bytes, errors: str, path: Path, line: int = 1, offset: int = 0) -> str:
    """The text of a file, or of the part of it that begins at `line` and byte `offset`.

    Raises XfmError, naming the line and the byte, for bytes that are not UTF-8 if `errors` is "strict".
    """
    try:
        return _lines(raw.decode("utf-8", errors))
    except UnicodeDecodeError as error:
        number = line + raw.count(b"\n", 0, error.start)
        raise _not_utf8(f"{path}:{number}", offset + error.start, error, "errors") from error


def parsed(text: str, where: Any) -> Any:
    """The value of a JSON text. Raises XfmError that names `where` if it is not valid JSON or nested too deeply."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise XfmError(f"{where} is not valid JSON: {why}") from error


def _lines(text: str) -> str:
    """The text with `\\n` as line ends and without a byte order mark."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n")


def _not_utf8(where: Any, byte: int, error: UnicodeDecodeError, field: str) -> XfmError:
    return XfmError(f"{where} is not UTF-8 at byte {byte} ({error.reason}); convert it, or set {field}='replace'")
