"""What evaluators of text show: words of validation rows, their surroundings, what is predicted for them."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

Row = Mapping[str, np.ndarray]


def word_rows(data, count: int):
    """`count` (row, place) pairs spread over the validation data.

    A place is the first, from the row's middle on, to hold a word of four letters or more, or else (bytes, characters)
    the first to hold the longest word there is.
    """
    found = 0
    for i in np.linspace(0, len(data.valid) - 1, min(len(data.valid), 8 * count)).astype(int):
        row = data.valid[int(i)]
        tokens = [int(token) for token in row["tokens"]]
        letters = {}
        for place in range(len(tokens) // 2, len(tokens) - 1):
            text = data.tokenizer.decode([tokens[place]]).strip()
            if text.isalpha() and tokens[place] not in data.vocabulary.special:
                letters[place] = min(len(text), 4)
        if letters:
            yield row, max(letters, key=letters.get)
            found += 1
        if found == count:
            return


def excerpt(tokens, place: int, shown: int, tokenizer, blank: str) -> str:
    """`shown` tokens on either side of a place, decoded, on one line, with `blank` at the place."""
    before = tokenizer.decode([int(t) for t in tokens[max(place - shown, 0) : place]])
    after = tokenizer.decode([int(t) for t in tokens[place + 1 : place + 1 + shown]])
    return " ".join(f"… {before} {blank} {after} …".split())


def put(tokens: Int[np.ndarray, "T"], place: int, token: int) -> Int[np.ndarray, "T"]:
    """A copy of `tokens` with `token` at that place."""
    out = np.array(tokens)
    out[place] = token
    return out


def guesses(
    data,
    chances: Callable[[Sequence[Row]], Float[np.ndarray, "n V"]],
    hidden: Callable[[Row, int], Row],
    count: int,
    shown: int,
    blank: str,
) -> list[str]:
    """`count` validation rows with a word left out: its surroundings, the three likeliest words, the truth.

    hidden: a row as a model reads it that is to predict one position.  chances: from n of those to the probability of
    each id at the hidden position.
    """

    def word(token):
        text = data.tokenizer.decode([int(token)])
        return repr(text.strip() or text)  # a line break is a token too

    lines, chosen = [], list(word_rows(data, count))
    every = chances([hidden(row, place) for row, place in chosen]) if chosen else []
    for (row, place), likely in zip(chosen, every, strict=True):
        best = ", ".join(f"{word(i)} {likely[i]:.0%}" for i in np.argsort(-likely)[:3])
        text = excerpt(row["tokens"], place, shown, data.tokenizer, blank)
        lines.append(f"{text}\n    predictions: {best}; it was {word(row['tokens'][place])}")
    return lines
