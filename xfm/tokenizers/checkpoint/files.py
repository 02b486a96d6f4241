"""Reads the files of a tokeniser, in any format of the Hub, into one object of the library `tokenizers`."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from xfm.errors import XfmError
from xfm.folders import read_json
from xfm.tokenizers.checkpoint.bounds import check_content, check_count, extra_ids, text_of
from xfm.tokenizers.checkpoint.characters import CodePoints
from xfm.tokenizers.checkpoint.classes import ANGLES, BRACKETS, KINDS, STORED, TEMPLATES, Kind

MODELS = ("spm.model", "spiece.model", "sentencepiece.bpe.model", "sentencepiece.model", "tokenizer.model")
FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
         "vocab.txt", "vocab.json", "merges.txt", *MODELS)  # fmt: skip
ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")  # in the order in which new tokens get their ids
# The usual names of special tokens, the most likely first.
USUAL = {
    "pad": ("[PAD]", "<pad>", "<|pad|>", "<|padding|>", "<|endoftext|>", "</s>", "[SEP]"),
    "unk": ("[UNK]", "<unk>", "<|unk|>"),
    "cls": ("[CLS]", "<cls>", "<s>", "<bos>", "<|startoftext|>"),
    "sep": ("[SEP]", "<sep>", "</s>", "<eos>", "<|endoftext|>"),
    "mask": ("[MASK]", "<mask>", "<|mask|>"),
}


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings in special_tokens_map.json, updated with tokenizer_config.json; either file may be absent."""
    settings: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            settings |= {key: value for key, value in read_json(folder / name).items() if value is not None}
    return settings


def backend_of(folder: Path, settings: Mapping[str, Any], kind: Kind, config: Mapping[str, Any]) -> Any:
    """The `tokenizers.Tokenizer` of a folder's files (for CANINE, CodePoints in its place).

    settings: from `read_settings`.  kind: of its class.  config: of config.json.
    Raises XfmError if the files that the class needs are not there.
    """
    if kind is KINDS["canine"]:
        return CodePoints()
    stored = folder / "tokenizer.json"
    backend = _stored(stored, settings, kind) if stored.is_file() else _built(folder, settings, kind, config)
    add_tokens(backend, folder, settings, kind if not stored.is_file() else _there(backend, kind))
    if not stored.is_file() and (around := _around(backend, settings, kind)) is not None:
        backend.post_processor = around
    backend.encode_special_tokens = settings.get("split_special_tokens") is True
    return backend


def _there(backend: Any, kind: Kind) -> Kind:
    """A copy of `kind` with only those special tokens that the vocabulary has; a tokenizer.json needs no others."""
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
    needed = dict(words="vocab.txt", merges="vocab.json with merges.txt", sentencepiece=" or ".join(MODELS))
    either = "tokenizer.json" + (f", or {needed[kind.files]}" if kind.files in needed else "")
    raise XfmError(f"{folder} has no file for the tokeniser class that it names; it needs {either}")


def _opened(path: Path) -> tuple[Any, dict[str, Any]]:
    """The tokeniser in a tokenizer.json, and the content of the file. Raises XfmError if it exceeds a limit."""
    from tokenizers import Tokenizer

    text = text_of(path)
    content = json.loads(text)
    check_content(path, content)
    backend = Tokenizer.from_str(text)
    for token in content.get("added_tokens") or ():
        if backend.token_to_id(token["content"]) != token["id"]:
            raise XfmError(f"{path} lists {token['content'][:80]!r} as token {token['id']}, but reads it as another id")
    return backend, content


def _stored(path: Path, settings: Mapping[str, Any], kind: Kind) -> Any:
    """The tokeniser in a tokenizer.json, with the parts that its class replaces set from the settings or the class."""
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
    """A WordPiece tokeniser with the vocabulary file `path`, as in BERT (Devlin et al. 2019).

    Texts are split at white space and punctuation; each word is then divided into the longest pieces from its left.
    """
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
    """A byte-level BPE tokeniser, as in GPT-2 (Radford et al. 2019) and RoBERTa; CLIP's also marks ends of words."""
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
    """ByT5's tokeniser (Xue et al. 2022): three special tokens, the 256 bytes, and names for masked spans."""
    from tokenizers import AddedToken, Tokenizer, decoders, models

    vocab = {"<pad>": 0, "</s>": 1, "<unk>": 2} | {f"<0x{byte:02X}>": 3 + byte for byte in range(256)}
    backend = Tokenizer(models.BPE(vocab, [], byte_fallback=True, unk_token="<unk>"))
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    spans = [f"<extra_id_{i}>" for i in range(extra_ids(settings, 125))]
    backend.add_special_tokens([AddedToken(name, normalized=False) for name in spans])
    return backend


def special_tokens(backend: Any, settings: Mapping[str, Any], kind: Kind) -> dict[str, str]:
    """Role -> special token that the vocabulary has: the one in the settings, else the usual one of the class."""
    found = {}
    for role in ROLES:
        usual = [sort[role] for sort in (kind.special, BRACKETS, ANGLES) if role in sort]
        usual = usual if kind is STORED or role in kind.special else []
        given = _token(settings, role)
        names = [given] if given else usual
        there = next((name for name in names if backend.token_to_id(name) is not None), None)
        if there is not None:
            found[role] = there
    return found


def usual_tokens(backend: Any) -> dict[str, str]:
    """Role -> special token that the vocabulary has under one of the usual names."""
    there = {role: [name for name in names if backend.token_to_id(name) is not None] for role, names in USUAL.items()}
    return {role: names[0] for role, names in there.items() if names}


def whole_file(path: Path) -> Any:
    """The `tokenizers.Tokenizer` of a tokenizer.json that is read without other files.

    If the file does not say how texts are joined, they are joined as BERT's are, as they will be after the run is
    converted; if the vocabulary lacks tokens for that, no special tokens are added.
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
    """The special token of a role in the settings, which hold a string or an object with `content`; None if absent."""
    value = settings.get(f"{role}_token")
    return value.get("content") if isinstance(value, Mapping) else value


def add_tokens(backend: Any, folder: Path, settings: Mapping[str, Any], kind: Kind) -> None:
    """Adds tokens beside the vocabulary to `backend`: those that the files list with ids, and missing special tokens.

    Listed tokens are added in the order of their ids. Special tokens that the files or the class name, but do not list,
    fill gaps between these ids, or else follow them. A mask token written "<mask>" includes the blank before it.

    Raises XfmError if there are too many, or if a listed token gets another id than it should.
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
                f"{folder} lists {token['content']!r} as token {i}, but the vocabulary has it as {has}; correct either"
            )


def _added(token: Mapping[str, Any]) -> Any:
    """One token as an object of the library."""
    from tokenizers import AddedToken

    known = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")
    return AddedToken(**{key: token[key] for key in known if key in token})


def _numbered(folder: Path, settings: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    """Id -> token, from added_tokens_decoder in the settings or, in older folders, from added_tokens.json."""
    if "added_tokens_decoder" in settings:
        return {int(i): token for i, token in settings["added_tokens_decoder"].items()}
    path = folder / "added_tokens.json"
    special = {token["content"] for token in _special(settings, STORED)}
    return {
        int(i): dict(content=token, normalized=token not in special, special=token in special)
        for token, i in (read_json(path) if path.is_file() else {}).items()
    }


def _special(settings: Mapping[str, Any], kind: Kind) -> Iterator[dict[str, Any]]:
    """The special tokens that the settings or the class name: those with a role, then others."""
    for role in ROLES:
        given, usual = settings.get(f"{role}_token"), kind.special.get(role)
        if isinstance(given, Mapping):
            yield dict(given, special=True)
        elif given or usual:
            token = given or usual
            yield dict(content=token, lstrip=role == "mask" and token == "<mask>", normalized=False, special=True)
    for name in ("additional_special_tokens", "extra_special_tokens"):
        more = settings.get(name) or ()
        for token in more.values() if isinstance(more, Mapping) else more:
            flags = dict(token) if isinstance(token, Mapping) else dict(content=token, normalized=False)
            yield flags | dict(special=True)


def _around(backend: Any, settings: Mapping[str, Any], kind: Kind) -> Any:
    """The post-processor that puts special tokens around texts, or None if the class adds none."""
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
