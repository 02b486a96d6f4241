"""The classes of tokenisers that xfm reads, by their names in transformers 4 and 5, with the behaviour that belongs to
the class and not to its files. Other classes are refused by name, since what they do to a text is not known.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xfm.errors import XfmError
from xfm.tokenizers.checkpoint.characters import CLS, MASK, SEP

BRACKETS = dict(pad="[PAD]", unk="[UNK]", cls="[CLS]", sep="[SEP]", mask="[MASK]")
ANGLES = dict(pad="<pad>", unk="<unk>", cls="<s>", sep="</s>", mask="<mask>", bos="<s>", eos="</s>")
MIXED = BRACKETS | dict(pad="<pad>", unk="<unk>")
XLNET = dict(pad="<pad>", unk="<unk>", cls="<cls>", sep="<sep>", mask="<mask>", bos="<s>", eos="</s>")
ENDS = dict(pad="<pad>", unk="<unk>", eos="</s>")

# Rows of one text (A) and of two (A, B), in the template language of the library; `:1` is a token type, by default 0.
TEMPLATES = {
    "bert": ("{cls} $A {sep}", "{cls} $A {sep} $B:1 {sep}:1"),
    "funnel": ("{cls}:2 $A {sep}", "{cls}:2 $A {sep} $B:1 {sep}:1"),
    "roberta": ("{cls} $A {sep}", "{cls} $A {sep} {sep} $B {sep}"),
    "xlnet": ("$A {sep} {cls}:2", "$A {sep} $B:1 {sep}:1 {cls}:2"),
    "t5": ("$A {eos}", "$A {eos} $B {eos}"),
    "clip": ("{bos} $A {eos}", "{bos} $A {eos} {eos} $B {eos}"),
    "bos": ("{bos} $A", "{bos} $A {bos} $B"),
}


@dataclasses.dataclass(frozen=True)
class Kind:
    """The behaviour that all tokenisers of a class share.

    template: a name of TEMPLATES, or "none".  special: role -> token, if the files do not say otherwise.
    files: what the tokeniser is built from if there is no tokenizer.json: "words" (vocab.txt), "merges" (vocab.json and
    merges.txt), "sentencepiece", or "none".
    overrules: the part of a tokenizer.json that the class replaces according to its own arguments: "case" (BERT's
    normaliser), "prefix" (whether a blank is put before a text), or "nothing".
    pieces: how the pieces of a SentencePiece model become ids, a name of `sentencepiece.PIECES`.
    clean: how a text is cleaned before SentencePiece reads it, "albert" or "none".
    lower, accents: the defaults of "do_lower_case" and "keep_accents".
    side, pad_type: the side and the token type of padding.
    odd: when a pair is truncated to an odd number of tokens, which text keeps one more: "longer" (of two equally long
    ones the second; as the library `tokenizers` does), or "first" (as tokenisers written in Python do).
    """

    template: str
    special: Mapping[str, str]
    files: str = "words"
    overrules: str = "nothing"
    pieces: str = "plain"
    clean: str = "none"
    lower: bool = False
    accents: bool = True
    side: str = "right"
    pad_type: int = 0
    odd: str = "longer"


def _words(template: str, special: Mapping[str, str]) -> Kind:
    return Kind(template, special, overrules="case", lower=True)


def _merges(template: str, special: Mapping[str, str]) -> Kind:
    return Kind(template, special, files="merges", overrules="prefix")


def _pieces(template: str, special: Mapping[str, str], **more: Any) -> Kind:
    return Kind(template, special, files="sentencepiece", **more)


# Keys are names of classes in lower case, without "Tokenizer", "Fast" and punctuation.
KINDS = {
    "bert": _words("bert", BRACKETS),
    "funnel": _words("funnel", XLNET),
    "mpnet": _words("roberta", ANGLES | dict(unk="[UNK]")),
    "roberta": _merges("roberta", ANGLES),
    "deberta": _merges("bert", BRACKETS),
    "gpt2": _merges("none", dict(unk="<|endoftext|>", bos="<|endoftext|>", eos="<|endoftext|>")),
    "clip": Kind(
        "clip",
        dict(pad="<|endoftext|>", unk="<|endoftext|>", bos="<|startoftext|>", eos="<|endoftext|>"),
        files="merges",
    ),
    "debertav2": _pieces("bert", BRACKETS),
    "albert": _pieces("bert", MIXED, clean="albert", lower=True, accents=False),
    "fnet": _pieces("bert", MIXED, clean="albert"),
    "rembert": _pieces("bert", MIXED),
    "bigbird": _pieces("bert", MIXED | dict(bos="<s>", eos="</s>")),
    "xlnet": _pieces("xlnet", XLNET, clean="albert", accents=False, side="left", pad_type=3),
    "xlmroberta": _pieces("roberta", ANGLES, pieces="xlm_roberta"),
    "camembert": _pieces("roberta", ANGLES, pieces="camembert"),
    "t5": _pieces("t5", ENDS, pieces="t5"),
    "byt5": Kind("t5", ENDS, files="none", odd="first"),
    "canine": Kind(
        "bert",
        dict(pad="\0", cls=chr(CLS), sep=chr(SEP), mask=chr(MASK), bos=chr(CLS), eos=chr(SEP)),
        files="none",  # its backend, CodePoints, truncates pairs itself
    ),
}
STORED = Kind("none", {}, files="none")  # tokenisers that are completely described by their tokenizer.json
# Other classes with the same behaviour, and model types whose default class it is.
SAME = dict.fromkeys(
    ("distilbert", "electra", "convbert", "mobilebert", "squeezebert", "retribert", "layoutlm", "nomicbert", "ernie",
     "megatronbert", "qdqbert", "nezha", "visualbert", "dprquestionencoder", "dprcontextencoder", "dprreader"), "bert",
) | dict.fromkeys(("longformer", "bart", "led", "robertaprelayernorm", "data2vectext", "ibert"), "roberta") | {
    "xmod": "xlmroberta", "xlmrobertaxl": "xlmroberta", "mt5": "t5", "umt5": "t5", "opt": "gpt2",
    "nystromformer": "albert", "yoso": "albert", "cliptextmodel": "clip",
}  # fmt: skip
# Classes that add nothing to a tokenizer.json, and model types without a tokeniser class of their own.
GENERIC = ("pretrained", "tokenizersbackend", "pythonbackend")
WHOLE = ("modernbert", "modernbertdecoder", "eurobert")


def kind_of(folder: Path, settings: Mapping[str, Any], config: Mapping[str, Any]) -> Kind:
    """The kind of the tokeniser class named in tokenizer_config.json, else in config.json, else that of the model type.

    If nothing is named, a tokenizer.json is taken as the complete description, and other files are read as BERT's.
    settings: of tokenizer_config.json.  config: of config.json.
    Raises XfmError for a class that xfm does not have, and for one whose code is in the repository (auto_map).
    """
    _refuse_code(folder, settings, config)
    stored = (folder / "tokenizer.json").is_file()
    given = settings.get("tokenizer_class") or config.get("tokenizer_class") or ""
    model = _plain(config.get("model_type"))
    if stored and model in WHOLE:  # whatever class they name
        return STORED
    name = _plain(str(given).removesuffix("Fast").removesuffix("Tokenizer"))
    if name and name not in GENERIC:
        return _known(folder, name, f"the tokeniser class {given!r}")
    if stored and (name or not model or model in WHOLE):
        return STORED
    if not model:
        return KINDS["bert"]
    return _known(folder, model, f"the model_type {config.get('model_type')!r} and no tokeniser class")


def _known(folder: Path, name: str, what: str) -> Kind:
    kind = KINDS.get(SAME.get(name, name))
    if kind is None:
        raise XfmError(
            f"{folder} names {what}, which xfm does not know; it reads the tokenisers of {', '.join(KINDS)}, and a "
            "PreTrainedTokenizerFast, which its tokenizer.json describes completely"
        )
    return kind


def _refuse_code(folder: Path, *contents: Mapping[str, Any]) -> None:
    for content in contents:
        given = content.get("auto_map")
        given = given.get("AutoTokenizer") if isinstance(given, Mapping) else given
        names = [name for name in (given if isinstance(given, list) else [given]) if name]
        if names:
            raise XfmError(
                f"{folder} has a tokeniser with code of its own, {names[-1]} (auto_map), and xfm runs no code of a "
                "checkpoint; if its tokenizer.json describes it completely, name PreTrainedTokenizerFast in "
                "tokenizer_config.json"
            )


def _plain(name: Any) -> str:
    return str(name or "").lower().replace("-", "").replace("_", "")
