"""The losses of CLIP and SigLIP, written in loops. Takes two seconds."""

import numpy as np
import pytest

import xfm
from tests.close import assert_close
from xfm.errors import XfmError
from xfm.objectives.contrast import candidates
from xfm.objectives.similarity import Similarity, sigmoid_loss, softmax_loss

LOGITS = np.random.default_rng(0).standard_normal((5, 5)) * 3
REAL = np.array([True, True, False, True, True])


def softmax(i, near):
    others = [j for j in range(5) if near[i, j]]
    across = np.log(sum(np.exp(LOGITS[i, j]) for j in others)) - LOGITS[i, i]
    down = np.log(sum(np.exp(LOGITS[j, i]) for j in others)) - LOGITS[i, i]
    return (across + down) / 2


def sigmoid(i, near):
    return sum(np.log1p(np.exp((-1 if i == j else 1) * LOGITS[i, j])) for j in range(5) if near[i, j])


@pytest.mark.parametrize("loss,expected", [(softmax_loss, softmax), (sigmoid_loss, sigmoid)])
@pytest.mark.parametrize("real,among", [(None, None), (REAL, None), (REAL, 3), (None, 2)])
def test_losses_equal_loops(loss, expected, real, among):
    near = np.asarray(candidates(5, None if real is None else np.asarray(real), among))
    kept = np.arange(5) if real is None else np.flatnonzero(real)
    assert near[kept].sum(1).tolist() == [among or len(kept)] * len(kept)
    found = np.asarray(loss(np.float32(LOGITS), near))
    assert_close(found[kept], np.array([expected(i, near) for i in kept]))


def test_another_network_is_refused():
    stack = dict(kind="stack", embed=dict(kind="tokens", vocab=5, width=8), pattern=[dict(kind="mlp", hidden=8)])
    with pytest.raises(
        XfmError, match="similarity compares two towers; set config.model to a network of kind 'towers'"
    ):
        Similarity(model=xfm.build(stack))
