"""The files of a tokeniser, in the forms that the Hub has, as one object of the library `tokenizers`."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xfm.errors import XfmError
from xfm.hub.files import read_json
from xfm.hub.tokenizer_characters import CLS, MASK, SEP, Characters

MODELS = ("spm.model", "spiece.model", "sentencepiece.bpe.model", "sentencepiece.model", "tokenizer.model")
FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
         "vocab.txt", "vocab.json", "merges.txt", *MODELS)  # fmt: skip

BRACKETS = dict(pad="[PAD]", unk="[UNK]", cls="[CLS]", sep="[SEP]", mask="[MASK]")
ANGLES = dict(pad="<pad>", unk="<unk>", cls="<s>", sep="</s>", mask="<mask>", bos="<s>", eos="</s>")
MIXED = BRACKETS | dict(pad="<pad>", unk="<unk>")
XLNET = dict(pad="<pad>", unk="<unk>", cls="<cls>", sep="<sep>", mask="<mask>", bos="<s>", eos="</s>")

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
    """What a family's tokenisers have in common.

    template: of TEMPLATES, or "none".  special: role -> token, unless the files say otherwise.  side: of the padding.
    pieces: how ids follow from the pieces of a SentencePiece model, and clean: what is done to a text before; both of
    `xfm.hub.tokenizer_sentencepiece`.  lower, accents: what "do_lower_case" and "keep_accents" are if not given.
    """

    template: str
    special: Mapping[str, str]
    pieces: str = "plain"
    clean: str = "none"
    lower: bool = False
    accents: bool = True
    side: str = "right"
    pad_type: int = 0


# By the name of the tokeniser's class or else of the model's type, without marks and capitals.
KINDS = {
    "bert": Kind("bert", BRACKETS, lower=True),
    "funnel": Kind("funnel", XLNET, lower=True),
    "mpnet": Kind("roberta", ANGLES | dict(unk="[UNK]"), lower=True),
    "roberta": Kind("roberta", ANGLES),
    "deberta": Kind("bert", BRACKETS),
    "gpt2": Kind("none", dict(unk="<|endoftext|>", bos="<|endoftext|>", eos="<|endoftext|>")),
    "clip": Kind("clip", dict(pad="<|endoftext|>", unk="<|endoftext|>", bos="<|startoftext|>", eos="<|endoftext|>")),
    "debertav2": Kind("bert", BRACKETS),
    "albert": Kind("bert", MIXED, clean="albert", lower=True, accents=False),
    "fnet": Kind("bert", MIXED, clean="albert"),
    "rembert": Kind("bert", MIXED),
    "bigbird": Kind("bert", MIXED | dict(bos="<s>", eos="</s>")),
    "xlnet": Kind("xlnet", XLNET, clean="albert", accents=False, side="left", pad_type=3),
    "xlmroberta": Kind("roberta", ANGLES, pieces="xlm_roberta"),
    "camembert": Kind("roberta", ANGLES, pieces="camembert"),
    "t5": Kind("t5", dict(pad="<pad>", unk="<unk>", eos="</s>"), pieces="t5"),
    "byt5": Kind("t5", dict(pad="<pad>", unk="<unk>", eos="</s>")),
    "canine": Kind("bert", dict(pad="\0", cls=chr(CLS), sep=chr(SEP), mask=chr(MASK), bos=chr(CLS), eos=chr(SEP))),
}
# Other names of the same.
SAME = {"xmod": "xlmroberta", "mt5": "t5", "umt5": "t5", "longformer": "roberta", "bart": "roberta", "opt": "gpt2",
        "clip_text_model": "clip", "cliptextmodel": "clip", "robertaprelayernorm": "roberta"}  # fmt: skip


def read_settings(folder: Path) -> dict[str, Any]:
    """tokenizer_config.json over special_tokens_map.json; whatever of the two is there."""
    settings: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            settings |= {key: value for key, value in read_json(folder / name).items() if value is not None}
    return settings


def kind_of(settings: Mapping[str, Any], config: Mapping[str, Any]) -> Kind:
    """The family's habits, by the tokeniser's class and then by the model's type; BERT's where neither is known."""
    name = _plain(str(settings.get("tokenizer_class", "")).removesuffix("Fast").removesuffix("Tokenizer"))
    kind = KINDS.get(SAME.get(name, name)) or KINDS.get(
        SAME.get(_plain(config.get("model_type")), _plain(config.get("model_type")))
    )
    return kind or KINDS["bert"]


def _plain(name: Any) -> str:
    return str(name or "").lower().replace("-", "").replace("_", "")


def backend_of(folder: Path, settings: Mapping[str, Any], kind: Kind, config: Mapping[str, Any]) -> Any:
    """The `tokenizers.Tokenizer` of a folder's files; XfmError where there are none."""
    models = [folder / name for name in MODELS if (folder / name).is_file()]
    if kind is KINDS["canine"]:
        return Characters()
    if (folder / "tokenizer.json").is_file():
        return _stored(folder / "tokenizer.json", settings)
    if (folder / "vocab.txt").is_file():
        backend = wordpiece(folder / "vocab.txt", settings, kind)
    elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        backend = byte_pairs(folder, settings, kind)
    elif models:
        from xfm.hub.tokenizer_sentencepiece import sentencepiece

        backend = sentencepiece(models[0], settings, kind, config)
    elif kind is KINDS["byt5"]:
        backend = every_byte(settings)
    else:
        raise XfmError(
            f"{folder} has no tokeniser: no tokenizer.json, vocab.txt, vocab.json with merges.txt, or {MODELS[0]}"
        )
    _add_tokens(backend, folder, settings, kind)
    around = _around(backend, settings, kind)
    if around is not None:
        backend.post_processor = around
    return backend


def _stored(path: Path, settings: Mapping[str, Any]) -> Any:
    from tokenizers import Tokenizer, normalizers

    backend = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    # The Hub's libraries let tokenizer_config.json overrule what tokenizer.json says of BERT's normaliser.
    stored = json.loads(path.read_text(encoding="utf-8")).get("normalizer") or {}
    if stored.get("type") == "BertNormalizer":
        own = {
            "lowercase": "do_lower_case",
            "strip_accents": "strip_accents",
            "handle_chinese_chars": "tokenize_chinese_chars",
        }
        told = {ours: settings[theirs] for ours, theirs in own.items() if theirs in settings}
        known = {key: stored[key] for key in ("clean_text", *own) if key in stored}
        backend.normalizer = normalizers.BertNormalizer(**(known | told))
    return backend


def wordpiece(path: Path, settings: Mapping[str, Any], kind: Kind) -> Any:
    """BERT's: white space and marks cut, then the longest pieces from the left. Devlin et al. 2019."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    lines = path.read_text(encoding="utf-8").replace("\r\n", "\n").split("\n")
    vocab = {token: i for i, token in enumerate(lines[:-1] if lines[-1] == "" else lines)}
    unknown = _token(settings, "unk") or kind.special["unk"]
    backend = Tokenizer(models.WordPiece(vocab, unk_token=unknown, max_input_chars_per_word=100))
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
        strip_accents=settings.get("strip_accents"),
        lowercase=settings.get("do_lower_case", kind.lower),
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    return backend


CLIP_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def byte_pairs(folder: Path, settings: Mapping[str, Any], kind: Kind) -> Any:
    """Byte-level BPE, as GPT-2 (Radford et al. 2019) and RoBERTa have it; CLIP's marks the ends of words."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
    merges = [tuple(line.split(" ")) for line in lines if line.strip() and not line.startswith("#version")]
    vocab = read_json(folder / "vocab.json")
    before = pre_tokenizers.ByteLevel(add_prefix_space=settings.get("add_prefix_space", False))
    if kind is KINDS["clip"]:
        unknown = _token(settings, "unk") or kind.special["unk"]
        backend = Tokenizer(models.BPE(vocab, merges, end_of_word_suffix="</w>", unk_token=unknown))
        tidy = [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
        backend.normalizer = normalizers.Sequence(tidy)
        words = pre_tokenizers.Split(Regex(CLIP_WORDS), "removed", invert=True)
        backend.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False)])
        backend.decoder = decoders.Sequence([decoders.Replace("</w>", " "), decoders.ByteLevel()])
        return backend
    backend = Tokenizer(models.BPE(vocab, merges))
    backend.pre_tokenizer = before
    backend.decoder = decoders.ByteLevel()
    return backend


def every_byte(settings: Mapping[str, Any]) -> Any:
    """ByT5's (Xue et al. 2022): three special tokens, the 256 bytes, and names for masked spans."""
    from tokenizers import AddedToken, Tokenizer, decoders, models

    vocab = {"<pad>": 0, "</s>": 1, "<unk>": 2} | {f"<0x{byte:02X}>": 3 + byte for byte in range(256)}
    backend = Tokenizer(models.BPE(vocab, [], byte_fallback=True, unk_token="<unk>"))
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    spans = [f"<extra_id_{i}>" for i in range(settings.get("extra_ids", 125))]
    backend.add_special_tokens([AddedToken(name, normalized=False) for name in spans])
    return backend


def special_tokens(backend: Any, settings: Mapping[str, Any], kind: Kind) -> dict[str, str]:
    """Role -> token: what the files say, else what the family has or what such tokens are mostly called."""
    found = {}
    for role in ("pad", "unk", "cls", "sep", "mask", "bos", "eos"):
        usual = [sort[role] for sort in (kind.special, BRACKETS, ANGLES) if role in sort and role in kind.special]
        told = _token(settings, role)
        names = [told] if told else usual
        there = next((name for name in names if backend.token_to_id(name) is not None), None)
        if there is not None:
            found[role] = there
    return found


def _token(settings: Mapping[str, Any], role: str) -> str | None:
    """A special token as the files name it: plain, or an object with its content."""
    value = settings.get(f"{role}_token")
    return value.get("content") if isinstance(value, Mapping) else value


def _add_tokens(backend: Any, folder: Path, settings: Mapping[str, Any], kind: Kind) -> None:
    """Tokens beside the vocabulary, in the order of the ids that the files give them, then the family's special ones.

    A mask takes the blank before it along, in the families that write it with angles.
    """
    from tokenizers import AddedToken

    extra = {}
    if (folder / "added_tokens.json").is_file():
        extra |= {
            int(i): dict(content=token, special=False) for token, i in read_json(folder / "added_tokens.json").items()
        }
    stored = settings.get("added_tokens_decoder") or {}
    extra |= {int(i): dict(token) for i, token in stored.items()}
    known = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")
    for i, token in sorted(extra.items()):
        backend.add_tokens([AddedToken(**{key: token[key] for key in known if key in token})])
        has = backend.token_to_id(token["content"])
        if has != i:
            raise XfmError(
                f"{folder} says that {token['content']!r} is the token {i}, and in the vocabulary it is {has}"
            )
    there = {token["content"] for token in extra.values()}
    for role in ("pad", "unk", "cls", "sep", "mask", "bos", "eos"):
        token = _token(settings, role) or kind.special.get(role)
        if token is not None and token not in there:
            value = settings.get(f"{role}_token")
            left = value.get("lstrip", False) if isinstance(value, Mapping) else role == "mask" and token == "<mask>"
            backend.add_special_tokens([AddedToken(token, lstrip=left, normalized=False)])
            there.add(token)


def _around(backend: Any, settings: Mapping[str, Any], kind: Kind) -> Any:
    from tokenizers import processors

    special = {role: _token(settings, role) or token for role, token in kind.special.items()}
    template = kind.template
    if template == "none" and settings.get("add_bos_token"):
        template = "bos"
    if template == "none":
        return None
    single, pair = (form.format(**special) for form in TEMPLATES[template])
    used = {token for token in special.values() if token in single.replace(":", " ").split()}
    ids = [(token, backend.token_to_id(token)) for token in sorted(used)]
    return processors.TemplateProcessing(single=single, pair=pair, special_tokens=ids)
