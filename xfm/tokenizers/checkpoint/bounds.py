"""Limits on what a tokeniser's files may contain, because they may come from anyone.

The library `tokenizers` follows whatever a file says. Files that amplify their input (a letter that becomes a million,
a text that is in its row ten thousand times) or that make the library abort the process are refused before it reads
them.
"""

import base64
import binascii
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from xfm.errors import XfmError

BYTES = 100_000_000  # of a file; the largest known tokenizer.json has 35 million
STEPS = 256  # of a normaliser, a pre-tokeniser or a decoder; and special tokens around a text
GROWTH = 4096  # characters that one character may become after all steps
LIGATURE = 256  # bytes that one character may become by a table of characters; U+FDFA becomes 33, the most
ADDED = 100_000  # tokens beside the vocabulary
SPANS = 10_000  # names of masked spans in T5 and ByT5 ("extra_ids")
INSIDE = ("normalizers", "pretokenizers", "processors", "decoders")  # keys of the steps of a Sequence


def text_of(path: Path) -> str:
    """The text of a file. Raises XfmError if it has more than BYTES bytes."""
    size = path.stat().st_size
    if size > BYTES:
        raise XfmError(f"{path} has {size} bytes; a tokeniser's file may have at most {BYTES}")
    return path.read_text(encoding="utf-8")


def check_content(path: Path, content: Any) -> None:
    """Checks a tokenizer.json. Raises XfmError if it exceeds a limit; the library checks the types of its values."""
    if not isinstance(content, Mapping):
        return
    growth = 1.0
    for part in ("normalizer", "pre_tokenizer", "decoder"):
        steps = _steps(path, part, content.get(part))
        growth = math.prod((_growth(path, step) for step in steps), start=growth if part == "pre_tokenizer" else 1.0)
        if growth > GROWTH:
            raise XfmError(f"{path} has a {part} that can turn one character into more than {GROWTH}")
    for step in _steps(path, "post_processor", content.get("post_processor")):
        for side in ("single", "pair"):
            _check_pieces(path, step.get(side), step.get("special_tokens"))
    added = content.get("added_tokens")
    if isinstance(added, Sequence):
        check_count(path, "added_tokens", len(added))


def check_count(where: Path, what: str, count: int, most: int = ADDED) -> None:
    """Checks a number of things. Raises XfmError, naming `where` and `what`, if it is larger than `most`."""
    if count > most:
        raise XfmError(f"{where} has {count} {what}; it may have at most {most}")


def check_charsmap(where: Path, charsmap: bytes) -> None:
    """Checks a table of characters of SentencePiece. Raises XfmError if it is damaged or a replacement is too long.

    The table consists of the size of a trie, the trie in words of four bytes, and the replacements, each ended by 0.
    """
    size = struct.unpack("<I", charsmap[:4])[0] if len(charsmap) >= 4 else None
    if size is None or size % 4 or not 0 < size <= len(charsmap) - 4:
        raise XfmError(f"{where} has a damaged table of characters (precompiled_charsmap)")
    if max(map(len, charsmap[4 + size :].split(b"\0"))) > LIGATURE:
        raise XfmError(f"{where} has a table of characters that turns one character into more than {LIGATURE} bytes")


def _steps(path: Path, part: str, content: Any) -> list[Mapping[str, Any]]:
    """The steps of a part, including those in nested sequences. Raises XfmError if there are more than STEPS."""
    found, waiting = [], [content]
    while waiting:
        step = waiting.pop()
        if not isinstance(step, Mapping):
            continue
        found.append(step)
        for key in INSIDE:  # all of them, since the library ignores keys that a step should not have
            waiting += step[key] if isinstance(step.get(key), Sequence) else ()
        if len(found) + len(waiting) > STEPS:
            raise XfmError(f"{path} has a {part} of more than {STEPS} steps")
    return found


def _growth(path: Path, step: Mapping[str, Any]) -> float:
    """The largest number of characters into which a step can turn one. Raises XfmError for a damaged table."""
    kind = step.get("type")
    if kind == "Precompiled" and isinstance(step.get("precompiled_charsmap"), str):
        try:
            check_charsmap(path, base64.b64decode(step["precompiled_charsmap"], validate=True))
        except (binascii.Error, ValueError):
            raise XfmError(f"{path} has a table of characters that is not base64 (precompiled_charsmap)") from None
    if kind == "ByteLevel":
        return 2.0
    if kind == "Replace" and isinstance(step.get("content"), str):
        pattern = step.get("pattern")
        given = pattern.get("String") if isinstance(pattern, Mapping) else pattern
        return max(1.0, len(step["content"]) / max(len(given), 1) if isinstance(given, str) else len(step["content"]))
    longest = max((len(text) for text in _texts(step)), default=0)
    return 1.0 if longest <= LIGATURE else float(longest)


def _texts(step: Mapping[str, Any]) -> Iterator[str]:
    return (step[key] for key in ("prepend", "replacement", "prefix", "suffix") if isinstance(step.get(key), str))


def _check_pieces(path: Path, pieces: Any, special: Any) -> None:
    if not isinstance(pieces, Sequence):
        return
    named = special.values() if isinstance(special, Mapping) else ()
    ids = [one.get("ids") for one in named if isinstance(one, Mapping)]
    if len(pieces) > STEPS or any(isinstance(one, Sequence) and len(one) > STEPS for one in ids):
        raise XfmError(f"{path} puts more than {STEPS} tokens around a text")
    texts = [piece["Sequence"].get("id") for piece in pieces if isinstance(piece, Mapping) and _of_text(piece)]
    if len(texts) != len(set(map(str, texts))):
        raise XfmError(f"{path} has a post_processor that puts the same text into a row twice")


def _of_text(piece: Mapping[str, Any]) -> bool:
    return isinstance(piece.get("Sequence"), Mapping)


def extra_ids(settings: Mapping[str, Any], usual: int) -> int:
    """The number of names of masked spans that T5 and ByT5 have after their other tokens.

    settings: of tokenizer_config.json.  usual: the number if they do not say.  Raises XfmError if it is out of range.
    """
    count = settings.get("extra_ids", usual)
    if not isinstance(count, int) or not 0 <= count <= SPANS:
        raise XfmError(f"extra_ids in tokenizer_config.json is {count!r}; it must be a whole number from 0 to {SPANS}")
    return count
