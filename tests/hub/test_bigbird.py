"""BigBird's own: where the question ends, for the class that answers it."""

import numpy as np
import pytest

from tests.hub import small
from xfm.hub.checkpoint import load
from xfm.hub.families import bigbird
from xfm.hub.settings import Settings

OF_QUESTIONS = {"architectures": ["BigBirdForQuestionAnswering"], "sep_token_id": 4}
IDS = np.array([[9, 8, 4, 7, 4], [4, 8, 9, 7, 4], [9, 8, 7, 6, 5]])


def test_the_question_ends_at_the_first_separator():
    """A row without one, as one that starts with it, has a question of its first token alone."""
    batch = bigbird.inputs(Settings(OF_QUESTIONS), IDS, None, None, None)
    assert batch["types"].tolist() == [[0, 0, 0, 1, 1], [0, 1, 1, 1, 1], [0, 1, 1, 1, 1]]
    assert batch["barred"].tolist() == [[0, 1, 1, 0, 0], [0] * 5, [0] * 5]
    given = bigbird.inputs(Settings(OF_QUESTIONS), IDS, None, 0 * IDS, None)
    assert not given["types"].any() and given["barred"].tolist() == batch["barred"].tolist()


def test_other_classes_have_no_question():
    batch = bigbird.inputs(Settings(OF_QUESTIONS | {"architectures": ["BigBirdModel"]}), IDS, None, None, None)
    assert not batch.keys() & {"types", "barred"}


@pytest.mark.parametrize("name", ["start_logits", "end_logits"])
def test_scores_of_possible_answers_are_the_references(name, tmp_path):
    """Which a comparison at the scale of a million, in test_parity.py, would not show."""
    m = load(small.folder(tmp_path, small.weights("bigbird_span"), "bigbird_span"))
    with np.load(small.GOLDENS / "bigbird_span.npz") as file:
        inputs = {key.removeprefix("input/"): file[key] for key in file.files if key.startswith("input/")}
        theirs = file[f"output/{name}"]
    mine, real = np.asarray(m(**inputs)[name]), inputs["attention_mask"] > 0
    able = real & (theirs > -1e5)
    assert able.any(axis=1).all() and (real & ~able).any()
    np.testing.assert_allclose(mine[able], theirs[able], rtol=0, atol=1e-5 * np.abs(theirs[able]).max())
    np.testing.assert_allclose(mine[real & ~able], theirs[real & ~able], rtol=0, atol=0.07)  # a step of float32 there
