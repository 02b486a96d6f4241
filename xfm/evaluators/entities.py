"""Entities in a sequence of tags, and how many of them are found, as the CoNLL shared tasks count them.

Tjong Kim Sang, De Meulder, "Introduction to the CoNLL-2003 Shared Task" (2003), section 2.3: an entity is right when
its type and both its ends are. Tags are O, or a prefix and a type: B- I- (IOB1, IOB2), with E- and S- as well (IOBES),
or L- and U- for those (BILOU).
"""

from collections.abc import Sequence

START, END = "BSU", "ESLU"  # prefixes that begin an entity whatever comes before, and that end it whatever follows


def entities(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """(type, first, last) of each entity; one begins at a change of type too, so every tag sequence is legal."""
    found, first, before = set(), None, ("O", "")
    for i, tag in enumerate([*tags, "O"]):
        prefix, _, kind = tag.partition("-")
        if first is not None and (prefix == "O" or prefix in START or before[0] in END or kind != before[1]):
            found.add((before[1], first, i - 1))
            first = None
        if first is None and prefix != "O":
            first = i
        before = prefix, kind
    return found


def entity_scores(truth: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, float]:
    """Precision, recall and F1 of the entities of all sentences together; 0 where there is nothing to divide by."""
    right = wanted = found = 0
    for one, other in zip(truth, predicted, strict=True):
        known, claimed = entities(one), entities(other)
        right, wanted, found = right + len(known & claimed), wanted + len(known), found + len(claimed)
    return {
        "entity_precision": right / found if found else 0.0,
        "entity_recall": right / wanted if wanted else 0.0,
        "entity_f1": 2 * right / (wanted + found) if wanted + found else 0.0,
    }
