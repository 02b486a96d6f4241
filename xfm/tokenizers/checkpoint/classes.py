"""The classes of tokenisers that xfm reads, by the names that transformers 4 and 5 give them, and what each does by
itself. A class that is not here is refused by its name: what it does to a text is not known.
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

# Where special tokens go around one text (A) and around two (B); `:1` is the token type, 0 where none stands.
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
    """What the tokenisers of a class have in common.

    template: of TEMPLATES, or "none".  special: role -> token, unless the files say otherwise.
    files: what it is made of where there is no tokenizer.json: "words" (vocab.txt), "merges" (vocab.json and
    merges.txt), "sentencepiece", or "none".
    overrules: what of a tokenizer.json the class sets anew from its own arguments: "case" (BERT's normaliser),
    "prefix" (whether a blank goes before a text), or "nothing".
    pieces: how ids follow from the pieces of a SentencePiece model, and clean: what is done to a text before; both of
    `sentencepiece.py`.  lower, accents: what "do_lower_case" and "keep_accents" are if not given.
    side, pad_type: of the padding.  odd: of two texts that are cut to an odd number of tokens, which keeps one more:
    "longer" (the second of two as long; the library `tokenizers`), or "first" (tokenisers that are Python).
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


# By the name of the class, without "Tokenizer", "Fast", marks and capitals.
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
        files="none",  # and its backend cuts by itself
    ),
}
STORED = Kind("none", {}, files="none")  # all that it is stands in its tokenizer.json
# Other names of the same: of classes, and of model types whose class these are.
SAME = dict.fromkeys(
    ("distilbert", "electra", "convbert", "mobilebert", "squeezebert", "retribert", "layoutlm", "nomicbert", "ernie",
     "megatronbert", "qdqbert", "nezha", "visualbert", "dprquestionencoder", "dprcontextencoder", "dprreader"), "bert",
) | dict.fromkeys(("longformer", "bart", "led", "robertaprelayernorm", "data2vectext", "ibert"), "roberta") | {
    "xmod": "xlmroberta", "xlmrobertaxl": "xlmroberta", "mt5": "t5", "umt5": "t5", "opt": "gpt2",
    "nystromformer": "albert", "yoso": "albert", "cliptextmodel": "clip",
}  # fmt: skip
# Classes that add nothing to a tokenizer.json, and model types that have no class of their own.
GENERIC = ("pretrained", "tokenizersbackend", "pythonbackend")
WHOLE = ("modernbert", "modernbertdecoder", "eurobert")


def kind_of(folder: Path, settings: Mapping[str, Any], config: Mapping[str, Any]) -> Kind:
    """What the class does that the files name, tokenizer_config.json before config.json; if none, the model type's.

    Where neither names anything, a tokenizer.json is all there is, and other files are read as BERT's. Raises XfmError,
    with its name, for a class that xfm does not have, and for one whose code is in the repository (auto_map).
    """
    _refuse_code(folder, settings, config)
    stored = (folder / "tokenizer.json").is_file()
    told = settings.get("tokenizer_class") or config.get("tokenizer_class") or ""
    model = _plain(config.get("model_type"))
    if stored and model in WHOLE:  # whatever class they name
        return STORED
    name = _plain(str(told).removesuffix("Fast").removesuffix("Tokenizer"))
    if name and name not in GENERIC:
        return _known(folder, name, f"the tokeniser class {told!r}")
    if stored and (name or not model or model in WHOLE):
        return STORED
    if not model:
        return KINDS["bert"]
    return _known(folder, model, f"the model_type {config.get('model_type')!r} and no tokeniser class")


def _known(folder: Path, name: str, what: str) -> Kind:
    kind = KINDS.get(SAME.get(name, name))
    if kind is None:
        raise XfmError(
            f"{folder} names {what}, and what that does to a text xfm does not know; it reads the tokenisers of "
            f"{', '.join(KINDS)}, and a PreTrainedTokenizerFast, which is whole in its tokenizer.json"
        )
    return kind


def _refuse_code(folder: Path, *contents: Mapping[str, Any]) -> None:
    for content in contents:
        given = content.get("auto_map")
        given = given.get("AutoTokenizer") if isinstance(given, Mapping) else given
        names = [name for name in (given if isinstance(given, list) else [given]) if name]
        if names:
            raise XfmError(
                f"{folder} has a tokeniser of its own code, {names[-1]} (auto_map), and xfm runs no code of a "
                "checkpoint; if its tokenizer.json is all of it, name PreTrainedTokenizerFast in tokenizer_config.json"
            )


def _plain(name: Any) -> str:
    return str(name or "").lower().replace("-", "").replace("_", "")
