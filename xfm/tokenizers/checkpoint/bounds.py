"""What a tokeniser's files may ask for: they come from strangers, and the library that reads them takes them at their
word. What makes much of little (a letter that becomes a million, a text that stands in its row ten thousand times) and
what makes the library end the process is refused before it reads the file.
"""

import base64
import binascii
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from xfm.errors import XfmError

BYTES = 100_000_000  # of a file; the largest tokenizer.json known has 35 million
STEPS = 256  # of a normaliser, of what cuts, of what stands around a text
GROWTH = 4096  # characters that one may become, all steps together
LIGATURE = 256  # bytes that one may become by a table of characters; U+FDFA, the longest, becomes 33
ADDED = 100_000  # tokens beside the vocabulary
SPANS = 10_000  # names of masked spans that T5 and ByT5 have ("extra_ids")
INSIDE = ("normalizers", "pretokenizers", "processors", "decoders")  # of a Sequence


def text_of(path: Path) -> str:
    """A file of text, unless it is too large."""
    size = path.stat().st_size
    if size > BYTES:
        raise XfmError(f"{path} has {size} bytes, and at most {BYTES} of a tokeniser's file are read")
    return path.read_text(encoding="utf-8")


def check_content(path: Path, content: Any) -> None:
    """Raises XfmError where a tokenizer.json asks for too much; what is of a wrong type is left to the library."""
    if not isinstance(content, Mapping):
        return
    growth = 1.0
    for part in ("normalizer", "pre_tokenizer", "decoder"):
        steps = _steps(path, part, content.get(part))
        growth = math.prod((_growth(path, step) for step in steps), start=growth if part == "pre_tokenizer" else 1.0)
        if growth > GROWTH:
            raise XfmError(f"{path} has a {part} that makes more than {GROWTH} characters of one")
    for step in _steps(path, "post_processor", content.get("post_processor")):
        for side in ("single", "pair"):
            _check_pieces(path, step.get(side), step.get("special_tokens"))
    added = content.get("added_tokens")
    if isinstance(added, Sequence):
        check_count(path, "added_tokens", len(added))


def check_count(where: Path, what: str, count: int, most: int = ADDED) -> None:
    if count > most:
        raise XfmError(f"{where} has {count} {what}, and at most {most} are read")


def check_charsmap(where: Path, charsmap: bytes) -> None:
    """Raises XfmError for a table of characters (SentencePiece's) that is not as long as it says, or makes much of one.

    It is the size of a trie, the trie in words of four bytes, and the texts that characters become, each ended by 0.
    """
    size = struct.unpack("<I", charsmap[:4])[0] if len(charsmap) >= 4 else None
    if size is None or size % 4 or not 0 < size <= len(charsmap) - 4:
        raise XfmError(f"{where} has a damaged table of characters (precompiled_charsmap)")
    if max(map(len, charsmap[4 + size :].split(b"\0"))) > LIGATURE:
        raise XfmError(f"{where} has a table of characters that makes more than {LIGATURE} bytes of one")


def _steps(path: Path, part: str, content: Any) -> list[Mapping[str, Any]]:
    """The steps of a part, those of sequences inside sequences too."""
    found, waiting = [], [content]
    while waiting:
        step = waiting.pop()
        if not isinstance(step, Mapping):
            continue
        found.append(step)
        inside = next((step[key] for key in INSIDE if isinstance(step.get(key), Sequence)), ())
        waiting += inside
        if len(found) + len(waiting) > STEPS:
            raise XfmError(f"{path} has a {part} of more than {STEPS} steps")
    return found


def _growth(path: Path, step: Mapping[str, Any]) -> float:
    """How many characters a step may make of one."""
    kind = step.get("type")
    if kind == "Precompiled" and isinstance(step.get("precompiled_charsmap"), str):
        try:
            check_charsmap(path, base64.b64decode(step["precompiled_charsmap"], validate=True))
        except (binascii.Error, ValueError):
            raise XfmError(f"{path} has a table of characters that is no base64 (precompiled_charsmap)") from None
    if kind == "ByteLevel":
        return 2.0
    if kind == "Replace" and isinstance(step.get("content"), str):
        pattern = step.get("pattern")
        told = pattern.get("String") if isinstance(pattern, Mapping) else pattern
        return max(1.0, len(step["content"]) / max(len(told), 1) if isinstance(told, str) else len(step["content"]))
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
        raise XfmError(f"{path} puts a text into its row twice")


def _of_text(piece: Mapping[str, Any]) -> bool:
    return isinstance(piece.get("Sequence"), Mapping)


def extra_ids(settings: Mapping[str, Any], usual: int) -> int:
    """How many names of masked spans T5 and ByT5 have after their other tokens."""
    count = settings.get("extra_ids", usual)
    if not isinstance(count, int) or not 0 <= count <= SPANS:
        raise XfmError(f"extra_ids in tokenizer_config.json is {count!r}; it is a whole number up to {SPANS}")
    return count
