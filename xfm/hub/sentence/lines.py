"""Lines of text to a `.npy` of vectors, any number of them in bounded memory: what `xfm embed` does.

A `.npy` says at its beginning how many rows follow. Where the output is a file, the number is filled in at the end.
Where it is a pipe and the input a file, the lines are counted first. Where both are pipes, the vectors wait in a
temporary file, which takes disk and no memory.
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

LINE = 4_000_000  # bytes of a line that are kept; no tokeniser looks at more
BLOCK = 1 << 20
# The others take their range from all vectors at once.
PRECISIONS = ("float32", "binary", "ubinary")


def embed_lines(
    encoder: SentenceEncoder, source: BinaryIO, target: BinaryIO, *, precision: str = "float32", **options: Any
) -> int:
    """Writes the vector of each line of `source` to `target` as a `.npy` of shape [lines, D]; returns how many.

    options: of `SentenceEncoder.stream`. A blank line is an empty text and has its vector, so that rows and lines stay
    side by side. Raises XfmError for a line that is not UTF-8 and for a precision that needs all vectors at once; a
    file then holds the vectors made so far.
    """
    if precision not in PRECISIONS:
        raise XfmError(
            f"lines are embedded as {', '.join(PRECISIONS)}, not as {precision!r}, which needs them all at once"
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
    """The lines, without their ends; of a line that is very long, its beginning."""
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
    """How many lines are left, where that can be known without using them up."""
    if not _is_file(source):
        return None
    start, found, last = source.tell(), 0, b"\n"
    while block := source.read(BLOCK):
        found, last = found + block.count(b"\n"), block[-1:]
    source.seek(start)
    return found + (last != b"\n")


def rewritable(target: BinaryIO) -> bool:
    """Whether what was written can be written over: a file that is not opened for appending."""
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
        with contextlib.suppress(OSError):  # a full disk has been told of already
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
    """NumPy leaves room for the number of rows, so that the header has one length whatever the number."""
    about = dict(descr=np.lib.format.dtype_to_descr(empty.dtype), fortran_order=False, shape=(rows, empty.shape[1]))
    np.lib.format.write_array_header_1_0(target, about)
