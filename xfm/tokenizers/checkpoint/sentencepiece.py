"""Reads unigram models of SentencePiece (`spm.model`, `spiece.model`, …) into objects of the library `tokenizers`.

Kudo 2018, "Subword Regularization"; Kudo and Richardson 2018, "SentencePiece". Covered: DeBERTa v2, v3, ALBERT, FNet,
RemBERT, BigBird, XLNet, XLM-RoBERTa, CamemBERT, T5 and mT5. Ids equal those of the package `sentencepiece`, except
that special tokens in a text are recognised. The file is a protocol buffer, of which a few fields are needed; it is
parsed here because the package does not give access to one of them, the table of characters.
"""

import dataclasses
import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from xfm.errors import XfmError
from xfm.tokenizers.checkpoint.bounds import check_charsmap, extra_ids
from xfm.tokenizers.checkpoint.classes import KINDS, Kind

UNIGRAM = 1  # a value of the trainer's field model_type
UNKNOWN, CONTROL, USER = 2, 3, 4  # types of pieces
BLANK = "▁"
NEVER = -100.0  # added to the score of a piece that shall only be used if there is no other way


@dataclasses.dataclass(frozen=True)
class Model:
    """The content of a SentencePiece model.

    pieces: (text, score, type) by id.  charsmap: the compiled table of characters, empty if there is none.
    kind: the model type.  bytes: whether unknown characters are divided into bytes.
    prefix: whether a blank is put before a text.  squeeze: whether runs of blanks become one and both ends are trimmed.
    """

    pieces: list[tuple[str, float, int]]
    charsmap: bytes
    kind: int
    bytes: bool
    prefix: bool
    squeeze: bool

    @property
    def unknown(self) -> int:
        """The id of the unknown piece."""
        return next(i for i, (_, _, kind) in enumerate(self.pieces) if kind == UNKNOWN)


def read_model(path: Path) -> Model:
    """The model in a file. Raises XfmError if it is damaged or not a unigram model."""
    try:
        fields = list(_fields(path.read_bytes()))
        pieces = [_piece(value) for number, value in fields if number == 1]
        trainer = dict(_fields(next((v for n, v in fields if n == 2), b"")))
        normaliser = dict(_fields(next((v for n, v in fields if n == 3), b"")))
        model = Model(
            pieces=pieces,
            charsmap=bytes(normaliser.get(2, b"")),
            kind=trainer.get(3, UNIGRAM),
            bytes=bool(trainer.get(35, 0)),
            prefix=bool(normaliser.get(3, 1)),
            squeeze=bool(normaliser.get(4, 1)),
        )
        model.unknown  # noqa: B018 (there must be one)
    except (ValueError, IndexError, struct.error, TypeError, StopIteration, UnicodeDecodeError) as error:
        raise XfmError(f"{path} is damaged or is not a SentencePiece model") from error
    if not all(math.isfinite(score) for _, score, _ in model.pieces):
        raise XfmError(f"{path} has pieces whose scores are not finite numbers")
    if model.charsmap:
        check_charsmap(path, model.charsmap)
    if model.kind != UNIGRAM:
        raise XfmError(
            f"{path} is a SentencePiece model, but not a unigram one; xfm can only read it from a tokenizer.json, as "
            "save_pretrained of transformers writes it"
        )
    return model


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value) of each field of a protocol buffer; a value is an int, or a view of bytes."""
    view, at = memoryview(data), 0
    while at < len(view):
        tag, at = _varint(view, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(view, at)
        else:
            size = {1: 8, 5: 4}.get(wire)
            if wire == 2:
                size, at = _varint(view, at)
            if size is None or at + size > len(view):
                raise ValueError(f"field {number} of wire type {wire} ends outside the file")
            value, at = view[at : at + size], at + size
        yield number, value


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = view[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
    raise ValueError("a number of more than ten bytes")


def _piece(data: memoryview) -> tuple[str, float, int]:
    fields = dict(_fields(data))
    score = struct.unpack("<f", fields[2])[0] if 2 in fields else 0.0
    return bytes(fields.get(1, b"")).decode("utf-8"), score, fields.get(3, 1)


def sentencepiece(path: Path, settings: Mapping[str, Any], kind: Kind, config: Mapping[str, Any]) -> Any:
    """The `tokenizers.Tokenizer` of the model file `path`, which adds no special tokens around a text.

    settings: from tokenizer_config.json.  kind: of the class.  config: from config.json.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    model = read_model(path)
    vocab, unknown = PIECES[kind.pieces](model, _extra(settings, config))
    if kind.clean == "albert":  # "1," is read as "1" and ","
        vocab = [(text, score + NEVER if _number_comma(text) else score) for text, score in vocab]
    backend = Tokenizer(models.Unigram(vocab, unk_id=unknown, byte_fallback=model.bytes))
    backend.normalizer = _normaliser(model, settings, kind)
    scheme = "always" if model.prefix else "never"
    metaspace = pre_tokenizers.Metaspace(replacement=BLANK, prepend_scheme=scheme)
    if kind is KINDS["debertav2"] and settings.get("split_by_punct"):
        metaspace = pre_tokenizers.Sequence([pre_tokenizers.Punctuation("isolated"), metaspace])
    backend.pre_tokenizer = metaspace
    backend.decoder = decoders.Metaspace(replacement=BLANK, prepend_scheme=scheme)
    there = {text for text, _ in vocab}
    for text, _, type in model.pieces:
        if type in (CONTROL, USER) and text in there:
            backend.add_tokens([AddedToken(text, normalized=False, special=type == CONTROL)])
    if kind.pieces == "t5":
        backend.add_special_tokens([AddedToken(text, normalized=False) for text in _spans(_extra(settings, config))])
    return backend


def _normaliser(model: Model, settings: Mapping[str, Any], kind: Kind) -> Any:
    from tokenizers import Regex, normalizers

    steps = []
    if kind.clean == "albert":
        steps += [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
        if not settings.get("keep_accents", kind.accents):
            steps += [normalizers.NFKD(), normalizers.StripAccents()]
    if settings.get("do_lower_case", kind.lower):
        steps.append(normalizers.Lowercase())
    if model.charsmap:
        steps.append(normalizers.Precompiled(model.charsmap))
    if model.squeeze:
        steps += [normalizers.Replace(Regex("^ +| +$"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    return normalizers.Sequence(steps)


def _number_comma(piece: str) -> bool:
    return len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit()


def _extra(settings: Mapping[str, Any], config: Mapping[str, Any]) -> int:
    """The number of names of masked spans that T5 has after its pieces (mT5 has none)."""
    return extra_ids(settings, 0 if config.get("model_type") in ("mt5", "umt5") else 100)


def _spans(count: int) -> list[str]:
    return [f"<extra_id_{i}>" for i in reversed(range(count))]


def _plain(model: Model, extra: int):
    return [(text, score) for text, score, _ in model.pieces], model.unknown


def _t5(model: Model, extra: int):
    vocab, unknown = _plain(model, extra)
    return vocab + [(name, 0.0) for name in _spans(extra)], unknown


def _xlm_roberta(model: Model, extra: int):
    """The pieces with fairseq's four special tokens in place of the model's three, and the id of the unknown token."""
    first = [(text, 0.0) for text in ("<s>", "<pad>", "</s>", "<unk>")]
    return [*first, *_plain(model, extra)[0][3:], ("<mask>", 0.0)], 3


def _camembert(model: Model, extra: int):
    """The pieces after fairseq's four special tokens, and the id of the unknown token; the model's own is not used."""
    first = [("<s>NOTUSED", 0.0), ("<pad>", 0.0), ("</s>NOTUSED", 0.0), ("<unk>", 0.0), ("<unk>NOTUSED", NEVER)]
    return [*first, *_plain(model, extra)[0][1:], ("<mask>", 0.0)], 3


PIECES = {"plain": _plain, "t5": _t5, "xlm_roberta": _xlm_roberta, "camembert": _camembert}
