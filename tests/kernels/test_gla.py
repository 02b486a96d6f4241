"""What gated linear attention owes beside the suite of recurrences (test_sequence.py): identities, and refusals."""

import numpy as np
import pytest

from tests.close import assert_close
from xfm.kernels.gla import IMPLEMENTATIONS, gla, step

B, T, N, G, H, M = 2, 19, 4, 2, 8, 6


def inputs(seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"q": (B, T, G, M), "k": (B, T, G, M), "v": (B, T, N, H)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_it_is_attention_with_a_mask_of_decays(implementation):
    """y = scale (Q K^T * L) V, where L_ij is the decay from token j to token i: a 1-semiseparable matrix."""
    x, decay = inputs(), -np.random.default_rng(1).uniform(0.01, 2, (B, T, N)).astype(np.float32)
    sums = np.cumsum(decay.astype(np.float64), axis=1)
    mask = np.tril(np.ones((T, T)))[..., None] * np.exp(np.minimum(sums[:, :, None] - sums[:, None], 0))
    q, k = (np.repeat(x[name], N // G, axis=2) for name in ("q", "k"))
    scores = np.einsum("binm,bjnm->bijn", q, k) * mask
    y, _ = gla(**x, log_decay=decay, scale=0.3, chunk=8, implementation=implementation)
    assert_close(y, 0.3 * np.einsum("bijn,bjnh->binh", scores, x["v"]), rtol=1e-6)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_decays_of_each_shape_mean_the_same(implementation):
    """A constant of each head, the same for every token, and for every channel; and 0 is no decay at all."""
    constant = -np.array([0.01, 0.1, 0.5, 2.0], np.float32)
    shapes = [constant, np.broadcast_to(constant, (B, T, N)), np.broadcast_to(constant[:, None], (B, T, N, M))]
    first, *others = (gla(**inputs(), log_decay=d, chunk=8, implementation=implementation) for d in shapes)
    for other in others:
        assert_close(other, first, rtol=2e-6)
    without = gla(**inputs(), chunk=8, implementation=implementation)
    assert_close(gla(**inputs(), log_decay=0 * constant, chunk=8, implementation=implementation), without, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(q=(B, T, G)), r"gla: v \(2, 19, 4, 8\) must be \[B T N H\] and q \(2, 19, 2\) must be \[B T G M\]"),
        (dict(v=(B, T, 3, H)), r"N = 3 heads and q .* G = 2 groups; no axis may be empty, and G must divide N"),
        (dict(k=(B, T, G, 5)), r"gla: k has shape \(2, 19, 2, 5\); .* it must be \(2, 19, 2, 6\)"),
        (dict(log_decay=(B, N)), r"log_decay has shape \(2, 4\); .* one of \(4,\), \(2, 19, 4\), \(2, 19, 4, 6\)"),
        (dict(state=(B, N, M, H)), r"state has shape \(2, 4, 6, 8\); .* it must be \(2, 4, 8, 6\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(change, message):
    wrong = {name: np.zeros(shape, np.float32) for name, shape in change.items()}
    with pytest.raises(ValueError, match=message):
        gla(**inputs() | wrong)


def test_other_arguments_are_refused():
    with pytest.raises(
        NotImplementedError, match="gla: implementation is 'cuda'; it must be None or one of naive, xla"
    ):
        gla(**inputs(), implementation="cuda")
    with pytest.raises(ValueError, match="gla: chunk is 0; it must be a whole number of at least 1"):
        gla(**inputs(), chunk=0)
    with pytest.raises(ValueError, match="gla: segments is float32; it must be of an integer dtype"):
        gla(**inputs(), segments=np.ones((B, T), np.float32))
    with pytest.raises(ValueError, match="gla: state has shape"):
        step(**{name: a[:, 0] for name, a in inputs().items()}, state=np.zeros((B, N, M, H), np.float32))
