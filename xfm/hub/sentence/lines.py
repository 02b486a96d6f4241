"""From lines of text to a `.npy` file of vectors, with bounded memory: the work of `xfm embed`.

The header of a `.npy` holds the number of rows. If the output is a file, the number is filled in at the end. If the
output is a pipe and the input a file, the lines are counted first. If both are pipes, the vectors are first written to
a temporary file.
"""

import codecs
import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from itertools import islice
from typing import Any, BinaryIO

import numpy as np

from xfm.errors import XfmError
from xfm.hub.sentence.encoder import QUANTISED, SentenceEncoder

LINE = 4_000_000  # bytes of a line that are read; no tokeniser uses more
BLOCK = 1 << 20
# Other precisions need the range of all vectors.
PRECISIONS = ("float32", "binary", "ubinary")


def embed_lines(
    encoder: SentenceEncoder, source: BinaryIO, target: BinaryIO, *, precision: str = "float32", **options: Any
) -> int:
    """Writes the vector of each line of `source` to `target`, as a `.npy` of shape [lines, D]; returns their number.

    options: of `SentenceEncoder.stream`. A blank line is an empty text with a vector of its own, so that row i belongs
    to line i. Raises XfmError for a line that is not UTF-8, after which a file holds the vectors of earlier lines, and
    for a precision that needs all vectors at once.
    """
    if precision not in PRECISIONS:
        raise XfmError(
            f"precision {precision!r} needs all vectors at once; lines can be embedded as {', '.join(PRECISIONS)}"
        )
    rows = None if rewritable(target) else count(source)
    texts = lines(source) if rows is None else islice(lines(source), rows)
    parts = (QUANTISED[precision](part) for part in encoder.stream(texts, **options))
    empty = QUANTISED[precision](np.zeros((0, encoder.width_of(options.get("truncate_dim"))), np.float32))
    if rewritable(target):
        return _filled_in(parts, target, empty)
    if rows is not None:
        _header(target, rows, empty)
        return _all(parts, target)
    with tempfile.TemporaryFile() as waiting:
        rows = _all(parts, waiting)
        _header(target, rows, empty)
        waiting.seek(0)
        shutil.copyfileobj(waiting, target, BLOCK)
    return rows


def lines(source: BinaryIO) -> Iterator[str]:
    """The lines without their line ends; a very long line is truncated to LINE bytes."""
    number = 0
    while raw := source.readline(LINE):
        number += 1
        cut = len(raw) == LINE and not raw.endswith(b"\n")
        more = cut
        while more:
            rest = source.readline(LINE)
            more = bool(rest) and not rest.endswith(b"\n")
        try:
            text = codecs.getincrementaldecoder("utf-8")().decode(raw, final=not cut)
        except UnicodeDecodeError as error:
            raise XfmError(f"line {number} is not UTF-8 at byte {error.start} ({error.reason})") from error
        yield text.removesuffix("\n").removesuffix("\r")


def count(source: BinaryIO) -> int | None:
    """The number of remaining lines, if `source` is a file; None for a pipe, which cannot be read twice."""
    if not _is_file(source):
        return None
    start, found, last = source.tell(), 0, b"\n"
    while block := source.read(BLOCK):
        found, last = found + block.count(b"\n"), block[-1:]
    source.seek(start)
    return found + (last != b"\n")


def rewritable(target: BinaryIO) -> bool:
    """Whether bytes that were written can be overwritten: `target` is a file that is not opened for appending."""
    return _is_file(target) and not fcntl.fcntl(target.fileno(), fcntl.F_GETFL) & os.O_APPEND


def _is_file(file: BinaryIO) -> bool:
    try:
        return file.seekable() and stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    except (OSError, ValueError):
        return False


def _filled_in(parts, target: BinaryIO, empty: np.ndarray) -> int:
    start, rows = target.tell(), 0
    _header(target, rows, empty)
    try:
        for part in parts:
            target.write(memoryview(np.ascontiguousarray(part)).cast("B"))
            rows += len(part)
    finally:
        with contextlib.suppress(OSError):  # a full disk has already raised an error
            end = target.tell()
            target.seek(start)
            _header(target, rows, empty)
            target.seek(end)
    return rows


def _all(parts, target: BinaryIO) -> int:
    rows = 0
    for part in parts:
        target.write(memoryview(np.ascontiguousarray(part)).cast("B"))
        rows += len(part)
    return rows


def _header(target: BinaryIO, rows: int, empty: np.ndarray) -> None:
    """Writes the header. NumPy reserves space for the number of rows, so its length does not depend on that number."""
    about = dict(descr=np.lib.format.dtype_to_descr(empty.dtype), fortran_order=False, shape=(rows, empty.shape[1]))
    np.lib.format.write_array_header_1_0(target, about)
