"""The files of a tokeniser, in the forms that the Hub has, as one object of the library `tokenizers`."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from xfm.errors import XfmError
from xfm.folders import read_json
from xfm.tokenizers.checkpoint.bounds import check_content, check_count, extra_ids, text_of
from xfm.tokenizers.checkpoint.characters import Characters
from xfm.tokenizers.checkpoint.classes import ANGLES, BRACKETS, KINDS, STORED, TEMPLATES, Kind

MODELS = ("spm.model", "spiece.model", "sentencepiece.bpe.model", "sentencepiece.model", "tokenizer.model")
FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
         "vocab.txt", "vocab.json", "merges.txt", *MODELS)  # fmt: skip
ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")  # in this order new ones get their ids
# What such tokens are mostly called, the likeliest first.
USUAL = {
    "pad": ("[PAD]", "<pad>", "<|pad|>", "<|padding|>", "<|endoftext|>", "</s>", "[SEP]"),
    "unk": ("[UNK]", "<unk>", "<|unk|>"),
    "cls": ("[CLS]", "<cls>", "<s>", "<bos>", "<|startoftext|>"),
    "sep": ("[SEP]", "<sep>", "</s>", "<eos>", "<|endoftext|>"),
    "mask": ("[MASK]", "<mask>", "<|mask|>"),
}


def read_settings(folder: Path) -> dict[str, Any]:
    """tokenizer_config.json over special_tokens_map.json; whatever of the two is there."""
    settings: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            settings |= {key: value for key, value in read_json(folder / name).items() if value is not None}
    return settings


def backend_of(folder: Path, settings: Mapping[str, Any], kind: Kind, config: Mapping[str, Any]) -> Any:
    """The `tokenizers.Tokenizer` of a folder's files; XfmError where those of its class are not there."""
    if kind is KINDS["canine"]:
        return Characters()
    stored = folder / "tokenizer.json"
    backend = _stored(stored, settings, kind) if stored.is_file() else _built(folder, settings, kind, config)
    add_tokens(backend, folder, settings, kind if not stored.is_file() else _there(backend, kind))
    if not stored.is_file() and (around := _around(backend, settings, kind)) is not None:
        backend.post_processor = around
    backend.encode_special_tokens = settings.get("split_special_tokens") is True
    return backend


def _there(backend: Any, kind: Kind) -> Kind:
    """The kind with those of its special tokens that the vocabulary has: a file with others is whole without them."""
    return dataclasses.replace(
        kind, special={r: t for r, t in kind.special.items() if backend.token_to_id(t) is not None}
    )


def _built(folder: Path, settings: Mapping[str, Any], kind: Kind, config: Mapping[str, Any]) -> Any:
    models = [folder / name for name in MODELS if (folder / name).is_file()]
    if kind.files == "words" and (folder / "vocab.txt").is_file():
        return wordpiece(folder / "vocab.txt", settings, kind)
    if kind.files == "merges" and (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return byte_pairs(folder, settings, kind)
    if kind.files == "sentencepiece" and models:
        from xfm.tokenizers.checkpoint.sentencepiece import sentencepiece

        return sentencepiece(models[0], settings, kind, config)
    if kind is KINDS["byt5"]:
        return every_byte(settings)
    made_of = dict(words="vocab.txt", merges="vocab.json with merges.txt", sentencepiece=" or ".join(MODELS))
    either = "no tokenizer.json" + (f", and no {made_of[kind.files]}" if kind.files in made_of else "")
    raise XfmError(f"{folder} has no tokeniser that belongs to the class it names: {either}")


def _opened(path: Path) -> tuple[Any, dict[str, Any]]:
    """The tokeniser of a tokenizer.json that asks for nothing that it should not, and what the file says."""
    from tokenizers import Tokenizer

    text = text_of(path)
    content = json.loads(text)
    check_content(path, content)
    backend = Tokenizer.from_str(text)
    for token in content.get("added_tokens") or ():
        if backend.token_to_id(token["content"]) != token["id"]:
            raise XfmError(f"{path} says that {token['content'][:80]!r} is the token {token['id']}, and it cannot be")
    return backend, content


def _stored(path: Path, settings: Mapping[str, Any], kind: Kind) -> Any:
    """The tokeniser of a tokenizer.json; what its class sets anew is as the settings, or the class, have it."""
    from tokenizers import normalizers, pre_tokenizers

    backend, content = _opened(path)
    normaliser, before = content.get("normalizer") or {}, content.get("pre_tokenizer") or {}
    if kind.overrules == "case" and normaliser.get("type") == "BertNormalizer":
        backend.normalizer = normalizers.BertNormalizer(
            clean_text=normaliser.get("clean_text", True),
            handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
            strip_accents=settings.get("strip_accents"),
            lowercase=settings.get("do_lower_case", kind.lower),
        )
    if kind.overrules == "prefix" and before.get("type") == "ByteLevel":
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(
            add_prefix_space=settings.get("add_prefix_space", False), use_regex=before.get("use_regex", True)
        )
    return backend


def wordpiece(path: Path, settings: Mapping[str, Any], kind: Kind) -> Any:
    """BERT's: white space and marks cut, then the longest pieces from the left. Devlin et al. 2019."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    lines = text_of(path).replace("\r\n", "\n").split("\n")
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

    lines = text_of(folder / "merges.txt").split("\n")
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
    spans = [f"<extra_id_{i}>" for i in range(extra_ids(settings, 125))]
    backend.add_special_tokens([AddedToken(name, normalized=False) for name in spans])
    return backend


def special_tokens(backend: Any, settings: Mapping[str, Any], kind: Kind) -> dict[str, str]:
    """Role -> token: what the files say, else what the class has or what such tokens are mostly called."""
    found = {}
    for role in ROLES:
        usual = [sort[role] for sort in (kind.special, BRACKETS, ANGLES) if role in sort]
        usual = usual if kind is STORED or role in kind.special else []
        told = _token(settings, role)
        names = [told] if told else usual
        there = next((name for name in names if backend.token_to_id(name) is not None), None)
        if there is not None:
            found[role] = there
    return found


def usual_tokens(backend: Any) -> dict[str, str]:
    """Role -> token, by the names that such tokens mostly have."""
    there = {role: [name for name in names if backend.token_to_id(name) is not None] for role, names in USUAL.items()}
    return {role: names[0] for role, names in there.items() if names}


def whole_file(path: Path) -> Any:
    """The `tokenizers.Tokenizer` of a tokenizer.json alone. Where the file does not say how it joins texts, they are
    joined as BERT's are, as they are once a run with it is converted; or not at all without tokens for both ends.
    """
    from tokenizers import processors

    backend, _ = _opened(path)
    names = usual_tokens(backend)
    if backend.post_processor is None and {"cls", "sep"} <= names.keys():
        single, pair = (form.format(**names) for form in TEMPLATES["bert"])
        ids = [(names[role], backend.token_to_id(names[role])) for role in ("cls", "sep")]
        backend.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=ids)
    return backend


def _token(settings: Mapping[str, Any], role: str) -> str | None:
    """A special token as the files name it: plain, or an object with its content."""
    value = settings.get(f"{role}_token")
    return value.get("content") if isinstance(value, Mapping) else value


def add_tokens(backend: Any, folder: Path, settings: Mapping[str, Any], kind: Kind) -> None:
    """Tokens beside the vocabulary: those with an id in the files, in their order, and before the first for which there
    would be a gap, or else after them, the special ones that are not yet there: of the roles, and others named beside.

    A mask takes the blank before it along, in the families that write it with angles.
    """
    numbered = _numbered(folder, settings)
    there = {token["content"] for token in numbered.values()}
    there |= {token.content for token in backend.get_added_tokens_decoder().values()}
    special = [token for token in _special(settings, kind) if token["content"] not in there]
    check_count(folder, "tokens beside its vocabulary", len(numbered) + len(special))
    size, order = backend.get_vocab_size(), []
    for i, token in sorted(numbered.items()):
        room = max(i - size, 0)
        order += [*special[:room], token]
        size += len(special[:room]) + (backend.token_to_id(token["content"]) is None)
        special = special[room:]
    backend.add_tokens([_added(token) for token in (*order, *special)])
    for i, token in numbered.items():
        has = backend.token_to_id(token["content"])
        if has != i:
            raise XfmError(
                f"{folder} says that {token['content']!r} is the token {i}, and in the vocabulary it is {has}"
            )


def _added(token: Mapping[str, Any]) -> Any:
    """One token as the library wants it; one that is special is looked for before a text is normalised."""
    from tokenizers import AddedToken

    known = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")
    return AddedToken(**{key: token[key] for key in known if key in token})


def _numbered(folder: Path, settings: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    """Id -> token: added_tokens_decoder, or in older folders added_tokens.json."""
    if "added_tokens_decoder" in settings:
        return {int(i): token for i, token in settings["added_tokens_decoder"].items()}
    path = folder / "added_tokens.json"
    special = {token["content"] for token in _special(settings, STORED)}
    return {
        int(i): dict(content=token, normalized=token not in special, special=token in special)
        for token, i in (read_json(path) if path.is_file() else {}).items()
    }


def _special(settings: Mapping[str, Any], kind: Kind) -> Iterator[dict[str, Any]]:
    """The special tokens that the files or the class name: of the roles, and others beside them."""
    for role in ROLES:
        told, usual = settings.get(f"{role}_token"), kind.special.get(role)
        if isinstance(told, Mapping):
            yield dict(told, special=True)
        elif told or usual:
            token = told or usual
            yield dict(content=token, lstrip=role == "mask" and token == "<mask>", normalized=False, special=True)
    for name in ("additional_special_tokens", "extra_special_tokens"):
        more = settings.get(name) or ()
        for token in more.values() if isinstance(more, Mapping) else more:
            flags = dict(token) if isinstance(token, Mapping) else dict(content=token, normalized=False)
            yield flags | dict(special=True)


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
