"""What evaluators of text show: words of validation rows, their surroundings, what is predicted for them."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

Row = Mapping[str, np.ndarray]


def word_rows(data, count: int):
    """Pairs of a row and a position, `count` of them, spread over the validation data.

    The position is the first from the row's middle on that has a word of four letters or more; if there is none, as
    with bytes and characters, the first that has the longest word.
    """
    found = 0
    for i in np.linspace(0, len(data.valid) - 1, min(len(data.valid), 8 * count)).astype(int):
        row = data.valid[int(i)]
        tokens = [int(token) for token in row["tokens"]]
        letters = {}
        for position in range(len(tokens) // 2, len(tokens) - 1):
            text = data.tokenizer.decode([tokens[position]]).strip()
            if text.isalpha() and tokens[position] not in data.vocabulary.special:
                letters[position] = min(len(text), 4)
        if letters:
            yield row, max(letters, key=letters.get)
            found += 1
        if found == count:
            return


def excerpt(tokens, position: int, shown: int, tokenizer, blank: str) -> str:
    """`shown` tokens on either side of a position, decoded, on one line, with `blank` at the position."""
    before = tokenizer.decode([int(t) for t in tokens[max(position - shown, 0) : position]])
    after = tokenizer.decode([int(t) for t in tokens[position + 1 : position + 1 + shown]])
    return " ".join(f"… {before} {blank} {after} …".split())


def put(tokens: Int[np.ndarray, "T"], position: int, token: int) -> Int[np.ndarray, "T"]:
    """A copy of `tokens` with `token` at a position."""
    out = np.array(tokens)
    out[position] = token
    return out


def predictions(
    data,
    chances: Callable[[Sequence[Row]], Float[np.ndarray, "n V"]],
    hidden: Callable[[Row, int], Row],
    count: int,
    shown: int,
    blank: str,
) -> list[str]:
    """For `count` validation rows with a word left out: its context, the three likeliest words, and the truth.

    hidden: from a row and a position to the row whose token a model predicts there.  chances: from n such rows to the
    probability of each id at that position.
    """

    def word(token):
        text = data.tokenizer.decode([int(token)])
        return repr(text.strip() or text)  # a line break is a token too

    lines, chosen = [], list(word_rows(data, count))
    every = chances([hidden(row, position) for row, position in chosen]) if chosen else []
    for (row, position), likely in zip(chosen, every, strict=True):
        best = ", ".join(f"{word(i)} {likely[i]:.0%}" for i in np.argsort(-likely)[:3])
        text = excerpt(row["tokens"], position, shown, data.tokenizer, blank)
        lines.append(f"{text}\n    predictions: {best}; it was {word(row['tokens'][position])}")
    return lines
