"""The loss of a predictor that knows almost nothing, with which each objective compares, worked by hand.

The margins by which tiny configs learn are measured from it. A new baseline needs an example here.
"""

import math
import types

import numpy as np
import pytest

from tests.objectives.test_rows import EXAMPLES, VOCABULARY
from xfm.objectives import OBJECTIVES, build_objective
from xfm.objectives.base import Objective


def rows(**columns):
    return [dict(zip(columns, map(np.asarray, row), strict=True)) for row in zip(*columns.values(), strict=True)]


# Six ids that are not special, and one more of each of the 20 that there are: of 26, 5 has four and 8 has one.
TOKENS = rows(tokens=[[5, 5, 6, 0], [5, 1, 2, 7]])
READ = rows(tokens=[[5, 8, 3, 6]], segments=[[1, 1, 1, 0]])
UNIGRAM = dict(unigram=-np.log([4 / 26, 1 / 26]).mean())
NUMBERS = rows(labels=[0.0, 1.0]), rows(labels=[1.0, 0.5])  # the mean of the first is 0.5
PAIRS = rows(**{"tokens": [[5]], "positive/tokens": [[5]]})
LABELS = rows(labels=[0, 0, 0, 1]), rows(labels=[0, 1, 1]), {"class shares": -np.log([3 / 4, 1 / 4, 1 / 4]).mean()}
# E|z| of |z| > 1 is 2 phi(1), and E z^2 of the others is erf(1 / sqrt(2)) - 2 phi(1).
PHI, WITHIN = math.exp(-0.5) / math.sqrt(2 * math.pi), math.erf(math.sqrt(0.5))
ZEROS = dict(smooth=(WITHIN - 2 * PHI) / 2 + 2 * PHI - (1 - WITHIN) / 2, squared=1.0, absolute=math.sqrt(2 / math.pi))


def images(*patches):
    """A row whose image has these patches of 2 by 2 pixels one below another."""
    return rows(images=[np.array(patches, float).reshape(-1, 2, 1)])


SLOPE = np.tile(np.arange(4.0), (4, 1))[..., None]
BEFORE, AFTER = [1.0, 2, 0, 0], [4.0, 2, 1, 5]

# an example of test_rows -> fields besides, training rows, validation rows, the baseline
BASELINES = {
    "masked_lm": ({}, TOKENS, READ, UNIGRAM),
    "causal_lm": ({}, TOKENS, READ, UNIGRAM),
    "permutation_lm": ({}, TOKENS, READ, UNIGRAM),
    # Half of the tokens are 5, the others three words: a generator by these shares replaces 2/3 of the 15 % it fills.
    "replaced_token": ({}, TOKENS, READ, {"share of replaced": -0.1 * np.log(0.1) - 0.9 * np.log(0.9)}),
    "classification": ({}, *LABELS),
    "curriculum of images": ({}, *LABELS),
    "distillation": ({}, *LABELS),
    "stored_distillation": ({}, *LABELS),
    "tagging": (
        {}, rows(labels=[[0, 0, 1, 2]], weights=[[1, 1, 1, 0]]), rows(labels=[[1, 0, 0, 2]], weights=[[1, 1, 0, 0]]),
        {"tag shares": -np.log([1 / 3, 2 / 3]).mean()},
    ),
    "segmentation": (  # 9 counts nothing, and 1 twice: shares of 2/4, 2/4 and 0.5 of class 2 over 4.5
        dict(ignore=9, class_weights=(1.0, 2.0, 0.5)), rows(labels=[[[0, 0], [1, 9]], [[2, 9], [9, 9]]]),
        rows(labels=[[[0, 1], [9, 9]]]), {"class shares": -(np.log(2 / 4.5) + 2 * np.log(2 / 4.5)) / 3},
    ),
    "clicks": (  # objects of 1 and 2 of 4 pixels, and of 1 of 2; one of too few, and a row without any, do not count
        dict(ignore=9, alpha=0.25), rows(labels=[[[0, 0], [1, 1]]]),
        rows(labels=[[[1, 2], [2, 0]], [[9, 3], [9, 0]], [[0, 0], [0, 0]]]),
        {"even chances": np.log(2) * np.mean([np.mean([10 / 16, 8 / 16]), 1 / 2])},
    ),
    "span": (
        {}, rows(tokens=[[5] * 3] * 2, labels=[[0, 1], [0, 2]]), rows(tokens=[[5] * 3], labels=[[0, 2]]),
        {"position shares": -np.log([3 / 5, 2 / 5]).mean()},
    ),
    "regression": ({}, *NUMBERS, dict(mean=0.125)),
    "retrieval": ({}, PAIRS, PAIRS, dict(chance=np.log(4))),
    "retrieval of scores": ({}, *NUMBERS, dict(mean=0.125)),
    "retrieval of three": (dict(form=dict(kind="triplet", margin=0.5)), PAIRS, PAIRS, {"equal vectors": 0.5}),
    "retrieval by order": ({}, PAIRS, PAIRS, {}),
    "similarity": ({}, PAIRS, PAIRS, dict(chance=np.log(4))),
    "similarity by sigmoids": ({}, PAIRS, PAIRS, dict(chance=np.log(4) + 3 * np.log(4 / 3))),
    # A patch divided by its unbiased deviation has squares of mean 3/4, and one of equal pixels has zeros. The mean
    # image has a half of the former at both positions, so that it is a half away from either.
    "masked_images": (
        {}, images([0, 0, 8, 40], [0, 0, 1, 5]) + images([3, 3, 3, 3], [2, 2, 2, 2]),
        images([0, 0, 8, 40], [3, 3, 3, 3]), {"mean pixel": 3 / 8, "mean image": 3 / 16},
    ),
    "masked_images of tokens": (  # The median of all is 1, and those by position are 1, 2, 1, 1.
        {}, images([0, 1, 1, 90]) + images([1, 2, 1, 0]) + images([3, 2, 0, 1]), images([1, 2, 4, 1]),
        {"mean pixel": 1.0, "mean image": 3 / 4},
    ),
    "masked_images of codes": ({}, [], [], dict(chance=np.log(5))),
    "corrupted_images": (  # the median of all pixels is 1, and those of the four positions are 22, 24, 22, -20.5
        {}, images([0, 1, 1, 1]) + images([44, 47, 43, -42]), images([23, 24, 22, 25]),
        {"mean pixel": (22 + 23 + 21 + 24) / 4, "mean image": (1 + 0 + 0 + 45.5) / 4},
    ),
    "masked_images of image tokens": ({}, [], [], dict(chance=np.log(5))),
    # Bicubic enlargement of one pixel, here 4, is that pixel everywhere.
    "image_to_image": ({}, [], images([0, 2, 4, 10]), dict(bicubic=3.0)),
    "image_to_image of pairs": (
        {}, [], rows(**{"images": np.reshape(BEFORE, (2, 1, 2, 1)), "target/images": np.reshape(AFTER, (2, 1, 2, 1))}),
        {"the input": (9 + 0 + 1 + 25) / (16 + 4 + 1 + 25)},
    ),
    # Half of the pixels of a slope along columns have a direction, since its border is mirrored. Of the cells of one
    # pixel, the mean has 1/4 of it everywhere, and the mean image 1/2 there; of the whole image both have 1/2.
    "local_masked_images": (
        {}, rows(images=[np.ones((4, 4, 1)), SLOPE]), rows(images=[SLOPE]),
        {"means": (9 / 16 + 1 / 16) / 2 / 6 + 1 / 12, "mean image": 1 / 4 / 2 / 6 + 1 / 12},
    ),
    "hard_patches": (
        {}, images([0, 1, 1, 90]) + images([44, 47, 43, -42]), images([23, 24, 22, 25]),
        {"mean pixel": 6 / 4, "mean image": 2 / 4},
    ),
    "position_prediction": ({}, [], images([1, 2, 3, 4], [5, 6, 7, 8]), {"uniform": np.log(2)}),
    "supervised_masked_images": ({}, *LABELS),
    "mask_align": ({}, [], [], dict(zeros=2 * ZEROS["smooth"])),
    "joint_embedding": ({}, [], [], dict(zeros=ZEROS["smooth"])),
    "instance_discrimination": ({}, range(9), [], dict(uniform=np.log(9))),
    "self_distillation of images": ({}, [], [], dict(uniform=np.log(5))),
}  # fmt: skip


def test_every_objective_with_a_baseline_has_an_example():
    known = {kind for kind, cls in OBJECTIVES.items() if cls.baseline is not Objective.baseline}
    assert {EXAMPLES[name][0] for name in BASELINES} == known


@pytest.mark.parametrize("name", BASELINES)
def test_baseline(name):
    (kind, own, network, _), (fields, train, valid, expected) = EXAMPLES[name], BASELINES[name]
    one = build_objective(dict(model=network, objective=dict(kind=kind, **own | fields)), VOCABULARY)
    data = types.SimpleNamespace(train=train, valid=valid, vocabulary=VOCABULARY)
    assert one.baseline(data) == pytest.approx(expected)


def test_chance_counts_all_candidates_of_both_directions():
    form = dict(kind="infonce", ways="both")
    kind, _, network, _ = EXAMPLES["retrieval"]
    one = build_objective(dict(model=network, objective=dict(kind=kind, form=form, texts=3, among=4)), VOCABULARY)
    data = types.SimpleNamespace(train=PAIRS, valid=PAIRS)
    assert one.baseline(data) == pytest.approx(dict(chance=(np.log(8) + np.log(4)) / 2))


@pytest.mark.parametrize("distance", ZEROS)
def test_zeros_are_compared_with_normally_distributed_features(distance):
    kind, own, network, _ = EXAMPLES["joint_embedding"]
    one = build_objective(dict(model=network, objective=dict(kind=kind, **own, distance=distance)), VOCABULARY)
    assert one.baseline(None) == pytest.approx(dict(zeros=ZEROS[distance]))
