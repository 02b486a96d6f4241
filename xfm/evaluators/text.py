"""What evaluators of text show: words of validation rows, the text around them, and what is predicted for them."""

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from xfm.batch import spread_out
from xfm.errors import XfmError
from xfm.evaluators.scores import ranks

Row = Mapping[str, np.ndarray]
Find = Callable[[Sequence[int]], int | None]  # from a row's tokens to the position of a word, None without one
ROWS = 1024  # the most training rows in which common words are counted


def word_rows(data: Any, count: int, find: Find) -> Iterator[tuple[Row, int]]:
    """At most `count` pairs (row, position of a word in it), spread over the validation data.

    They are rows in which `find` finds a position, out of 8 · count rows: every eighth of these is tried first, then
    the one after each of those, and so on. Raises XfmError if the data has no text.
    """
    require_text(data)
    found, tried = 0, spread_out(len(data.valid), 8 * count)
    for i in (i for first in range(8) for i in tried[first::8]):
        row = data.valid[i]
        position = find([int(token) for token in row["tokens"]])
        if position is not None:
            yield row, position
            found += 1
        if found == count:
            return


def require_text(data: Any) -> None:
    """Raises XfmError if the data has no tokeniser."""
    if data.tokenizer is None:
        raise XfmError("config.evals has an evaluator of words, and this data has no text")


def mask_of(data: Any) -> int:
    """The id of the mask.  Raises XfmError if the data has no text, or its tokeniser no mask."""
    require_text(data)
    if data.vocabulary.mask is None:
        raise XfmError("config.evals has an evaluator of masked words, and the tokeniser has no mask token")
    return data.vocabulary.mask


def long_word(data: Any) -> Find:
    """Finds the first token of four letters or more in a row's second half, or else the one with most letters."""

    def find(tokens):
        letters = {}
        for position in range(len(tokens) // 2, len(tokens) - 1):
            text = data.tokenizer.decode([tokens[position]]).strip()
            if text.isalpha() and tokens[position] not in data.vocabulary.special:
                letters[position] = min(len(text), 4)
        return max(letters, key=letters.get, default=None)

    return find


def one_of(words: Collection[int]) -> Find:
    """Finds the first of these ids in a row's second half."""
    return lambda tokens: next((i for i in range(len(tokens) // 2, len(tokens) - 1) if tokens[i] in words), None)


def common_words(data: Any, count: int) -> list[int]:
    """The ids of the `count` most frequent words of three letters or more in ROWS training rows, the commonest first.

    Only words that are a single token count. Raises XfmError if there are none, as with a tokeniser of bytes.
    """
    require_text(data)
    times = np.zeros(data.vocabulary.size)
    for i in spread_out(len(data.train), ROWS):
        times += np.bincount(np.asarray(data.train[i]["tokens"]).reshape(-1), minlength=times.size)[: times.size]
    times[list(data.vocabulary.special)] = 0

    def is_word(token):
        text = data.tokenizer.decode([token]).strip()
        return text.isalpha() and len(text) >= 3

    ordered = (int(token) for token in np.argsort(-times, kind="stable") if times[token])
    words = list(itertools.islice(filter(is_word, ordered), count))
    if not words:
        raise XfmError("config.evals asks for common words, and no token of this tokeniser is a word of three letters")
    return words


def excerpt(tokens: Sequence[int], position: int, shown: int, tokenizer: Any, blank: str) -> str:
    """`shown` tokens on either side of a position, decoded, on one line, with `blank` at the position."""
    before = tokenizer.decode([int(t) for t in tokens[max(position - shown, 0) : position]])
    after = tokenizer.decode([int(t) for t in tokens[position + 1 : position + 1 + shown]])
    return " ".join(f"… {before} {blank} {after} …".split())


def put(tokens: Int[np.ndarray, "T"], position: int, token: int) -> Int[np.ndarray, "T"]:
    """A copy of `tokens` with `token` at that position."""
    out = np.array(tokens)
    out[position] = token
    return out


def truths_of(gaps: Sequence[tuple[Row, int]]) -> Int[np.ndarray, " n"]:
    """The ids at the positions of (row, position) pairs."""
    return np.array([row["tokens"][position] for row, position in gaps])


def predictions(
    data: Any, gaps: Sequence[tuple[Row, int]], likely: Float[np.ndarray, "n V"], shown: int, blank: str, best: int = 5
) -> list[str]:
    """A paragraph for each gap: `shown` tokens on either side, the `best` likeliest words, the true one and its rank.

    likely: the probability of each id at each gap.  blank: the text that is shown at the gap.
    """

    def word(token):
        text = data.tokenizer.decode([int(token)])
        return repr(text.strip() or text)  # a line break is a token too

    lines, truths = [], truths_of(gaps)
    for (row, position), chances, truth, rank in zip(gaps, likely, truths, ranks(likely, truths), strict=True):
        words = ", ".join(f"{word(i)} {chances[i]:.0%}" for i in np.argsort(-chances)[:best])
        text = excerpt(row["tokens"], position, shown, data.tokenizer, blank)
        lines.append(f"{text}\n    predictions: {words}; it was {word(truth)}, rank {rank}")
    return lines
