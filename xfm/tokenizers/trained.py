"""Sub-word tokenisers that are trained on the training documents, once per run, and stored in its folder as
`tokenizer.json`. A special token that a text spells out becomes its id, which decoding leaves out.
"""

import collections
import dataclasses
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from xfm.errors import XfmError
from xfm.fields import Range, fault, shown
from xfm.files import fingerprint, optional, replacing
from xfm.tokenizers.base import SPECIALS, Texts
from xfm.tokenizers.loaded import Loaded

# The number of ids exceeds the specials, and is bounded since the library allocates memory for all of them at once.
Size = Annotated[int, Range(len(SPECIALS) + 1, 1_000_000)]
PIECE = r"\n[ \t]*|\w+|[^\w\s]"


@dataclasses.dataclass(frozen=True)
class Wordpiece:
    """The spec of a WordPiece tokeniser of `size` ids for code and prose.

    Letter case is kept. A word is an identifier, a punctuation mark, or a newline with the indent after it.
    Decoding puts one blank between words, so other white space within or at the end of a line and the first line's
    indent are lost. A word with a character that is rare in the training documents becomes the unknown token.

    Schuster and Nakajima, "Japanese and Korean Voice Search" (2012), as in BERT (Devlin et al. 2019), but with merges
    chosen by frequency.
    """

    size: Size = 4096

    def fit(self, texts: Texts, corpus: str, workdir: Path) -> Loaded:
        """The tokeniser in `workdir`, trained on `texts` if it is not there yet."""
        return _once(workdir, {"kind": "wordpiece", "size": self.size}, corpus, lambda: self._train(texts))

    def _train(self, texts: Texts):
        from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

        alphabet = _alphabet(texts, self.size)
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(PIECE), "removed", invert=True)
        # Passed as special tokens, since otherwise the trainer numbers `##x` in the order of a randomly seeded map.
        inner = [f"##{c}" for c in alphabet if c in " \t" or _of_word(c)]
        trainer = trainers.WordPieceTrainer(
            vocab_size=self.size,
            special_tokens=[*SPECIALS, *inner],
            initial_alphabet=alphabet,
            limit_alphabet=len(alphabet),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts(), trainer)
        ids = tokenizer.get_vocab(with_added_tokens=True)
        _check_size(self.size, len(ids))
        out = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))
        out.add_special_tokens(list(SPECIALS))
        out.pre_tokenizer = tokenizer.pre_tokenizer
        out.decoder = decoders.Sequence(
            [
                decoders.WordPiece(cleanup=False),
                decoders.Fuse(),
                decoders.Replace(" \n", "\n"),
                decoders.Replace(Regex(r"\n[ \t]*\K (?=\S)"), ""),
            ]
        )
        return out


@dataclasses.dataclass(frozen=True)
class Bpe:
    """The spec of a byte-level BPE tokeniser of `size` ids; decoding restores any text, and no word is unknown.

    Sennrich et al. (2016) on bytes, with words split as in GPT-2 (Radford et al. 2019).
    """

    size: Size = 4096

    def fit(self, texts: Texts, corpus: str, workdir: Path) -> Loaded:
        """The tokeniser in `workdir`, trained on `texts` if it is not there yet."""
        return _once(workdir, {"kind": "bpe", "size": self.size}, corpus, lambda: self._train(texts))

    def _train(self, texts: Texts):
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=self.size,
            special_tokens=list(SPECIALS),
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts(), trainer)
        _check_size(self.size, tokenizer.get_vocab_size())
        return tokenizer


def _alphabet(texts: Texts, size: int) -> list[str]:
    """The characters of a WordPiece vocabulary: the most frequent ones, which make up 99.99 % of the texts.

    There are at most `size` / 3, since a character may take two ids. Raises XfmError if these make up less than 95 %
    of the texts.
    """
    counts: collections.Counter[str] = collections.Counter()
    for text in texts():
        counts.update(text)
    ranked = sorted((-n, c) for c, n in counts.items() if c in "\n\t " or not c.isspace())
    share = np.cumsum([-n for n, _ in ranked]) / max(sum(-n for n, _ in ranked), 1)
    wanted = int(np.searchsorted(share, 0.9999)) + 1
    kept = min(wanted, max(size - len(SPECIALS), 0) // 3)
    if ranked and (kept == 0 or share[min(kept, len(share)) - 1] < 0.95):
        raise XfmError(
            f"a wordpiece tokenizer of size={size} has no room for the {wanted} characters of this "
            "corpus; raise size, or use kind 'bpe'"
        )
    return sorted(c for _, c in ranked[:kept])


def _of_word(character: str) -> bool:
    """Whether a character is a letter, mark, number or connector, which PIECE takes as part of a word."""
    category = unicodedata.category(character)
    return category[0] in "LMN" or category == "Pc"


def _check_size(size: int, needed: int) -> None:
    if needed > size:
        raise XfmError(f"a tokenizer of size={size} has no room for the {needed} ids it must hold; raise size")


def _once(workdir: Path, spec: dict, corpus: str, train: Callable[[], Any]) -> Loaded:
    """The tokeniser stored in `workdir`; `train` makes it if there is none.

    Raises XfmError, naming the file, if the stored one was trained on another corpus or with another spec.
    """
    optional("tokenizers", "text")
    if wanted := fault(spec["size"], Size):
        raise XfmError(f"a tokeniser's size is {shown(spec['size'])}; it must be {wanted}")
    path = Path(workdir) / "tokenizer.json"
    note = path.with_name("tokenizer.trained-on")
    now = fingerprint(spec, corpus)
    if not path.exists():
        tokenizer = train()
        with replacing(note) as draft:  # written first, so that no tokenizer.json of ours is without its note
            draft.write_text(now)
        with replacing(path) as draft:
            draft.write_text(tokenizer.to_str(pretty=True), encoding="utf-8")  # unlike `save`, raises OSError
    elif not note.exists() or note.read_bytes() != now.encode():
        raise XfmError(
            f"{path} was trained on another corpus or with other settings than "
            f"{spec['kind']} of size {spec['size']}; use a new workdir"
        )
    return Loaded.read(path)
