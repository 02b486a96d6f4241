"""Mixers for long texts, each against its definition written once more with loops over tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.close import assert_close
from tests.drawn import drawn, run
from xfm.context import Context
from xfm.errors import XfmError
from xfm.parts import SLOTS
from xfm.spec import SpecError, build

B, T, D = 2, 14, 16
SEGMENTS = np.array([[1, 1, 1, 0, 1, 1, 2, 2, 2, 2, 2, 2, 2, 0], [3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]])


def attention(kind, heads=2, **sight):
    return dict(kind="attention", heads=heads, sight=dict(kind=kind, **sight))


def stream(shape=(B, T, D), seed=0):
    return np.asarray(jax.random.normal(jax.random.key(seed), shape), np.float64)


def texts():
    """(row, indices of the tokens) of each segment."""
    return [(b, np.flatnonzero(SEGMENTS[b] == s)) for b in range(B) for s in np.unique(SEGMENTS[b]) if s > 0]


def applied(spec, x, **ctx):
    """What a mixer with parameters away from their initial values makes of x, and those parameters."""
    mixer, ctx = build(SLOTS["mixer"], spec), Context(**ctx)
    x = jnp.asarray(x, jnp.float32)
    params = drawn(mixer, x, ctx, by=0.2)
    y, _ = run(mixer, params, x, ctx)
    return y, jax.tree.map(lambda a: np.asarray(a, np.float64), params.get("params", {}))


def softmax(scores):
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def linear(p, x):
    return np.tensordot(x, p["kernel"], 1) + p["bias"]


def out(p, y):
    return np.einsum("...nh,nhd->...d", y, p["o"]["kernel"]) + p["o"]["bias"]


def neighbours(index, t, W):
    """The taps of a kernel of W that fall on tokens of the segment, as (tap, token)."""
    return [(w, t + w - W // 2) for w in range(W) if t + w - W // 2 in index]


def real(y):
    return jnp.where((SEGMENTS > 0)[..., None], y, 0)


def test_fourier():
    x = stream()
    y, _ = applied(dict(kind="fourier"), x, segments=jnp.asarray(SEGMENTS))
    expected = np.zeros((B, T, D))
    for b, index in texts():
        expected[b, index] = np.fft.fft2(x[b, index]).real
    assert_close(real(y), expected)
    whole, _ = applied(dict(kind="fourier"), x)
    assert_close(whole, np.stack([np.fft.fft2(row).real for row in x]))


def test_mixed_attention():
    x, W = stream(), 5
    y, p = applied(dict(kind="mixed_attention", heads=2, conv=W), x, segments=jnp.asarray(SEGMENTS))
    q, k, v, local = (linear(p[name], x) for name in ("q", "k", "v", "local"))
    expected = np.zeros((B, T, D))
    for b, index in texts():
        for t in index:
            depth = sum(p["span"]["depth"][w, 0] * x[b, s] for w, s in neighbours(index, t, W))
            span = depth @ p["span"]["point"][0] + p["span"]["bias"][0]
            kernel = softmax(linear(p["choose"], span * q[b, t].reshape(-1)))
            heads = [softmax(k[b, index, n] @ q[b, t, n] / 2) @ v[b, index, n] for n in range(2)]
            heads += [sum(kernel[n, w] * local[b, s, n] for w, s in neighbours(index, t, W)) for n in range(2)]
            expected[b, t] = out(p, np.stack(heads))
    assert_close(real(y), expected)


@pytest.mark.parametrize("start", ["matrix", "batch"])
@pytest.mark.parametrize("m", [3, 20])
def test_nystrom(start, m):
    x, N, H, W = stream(), 2, 8, 3
    spec = dict(kind="nystrom", heads=N, landmarks=m, conv=W, start=start)
    y, p = applied(spec, x, segments=jnp.asarray(SEGMENTS))
    q, k, v = (linear(p[name], x) for name in "qkv")
    q, k = q * H**-0.25, k * H**-0.25
    means, expected, most = {}, np.zeros((B, T, D)), 0.0
    for b, index in texts():
        c, order = min(m, len(index)), np.arange(len(index))
        groups = [index[order * c // len(index) == g] for g in range(c)]
        means[b, index[0]] = [np.stack([a[b, group].mean(axis=0) for group in groups]) for a in (q, k)]
        middle = softmax(np.einsum("gnh,enh->nge", *means[b, index[0]]))
        most = max(most, middle.sum(axis=-2).max())
    for b, index in texts():
        q_mark, k_mark = means[b, index[0]]
        for n in range(N):
            middle = softmax(q_mark[:, n] @ k_mark[:, n].T)
            z = middle.T / (most if start == "batch" else middle.sum(axis=0).max())
            one = np.eye(len(middle))
            for _ in range(6):
                az = middle @ z
                z = z @ (13 * one - az @ (15 * one - az @ (7 * one - az))) / 4
            far = softmax(q_mark[:, n] @ k[b, index, n].T) @ v[b, index, n]
            head = softmax(q[b, index, n] @ k_mark[:, n].T) @ z @ far
            for i, t in enumerate(index):
                near = sum(p["conv"][n, 0, w, 0] * v[b, s, n] for w, s in neighbours(index, t, W))
                expected[b, t] += (head[i] + near) @ p["o"]["kernel"][n]
        expected[b, index] += p["o"]["bias"]
    assert_close(real(y), expected)


def test_nystrom_says_by_nan_that_a_row_has_more_texts_than_it_was_made_for():
    y, _ = applied(dict(kind="nystrom", heads=2, landmarks=2, texts=1), stream(), segments=jnp.asarray(SEGMENTS))
    beyond = np.isnan(np.asarray(y)).any(axis=-1)
    assert beyond[0, 6:13].all() and not beyond[0, :6].any()


@pytest.mark.parametrize("everyone", ["given", "first"])
def test_global_window(everyone):
    x, N, W = stream(), 2, 4
    marks = np.random.default_rng(0).random((B, T)) < 0.2
    spec = attention("global_window", heads=N, window=W, everyone=everyone)
    y, p = applied(spec, x, segments=jnp.asarray(SEGMENTS), shared={"global": jnp.asarray(marks)})
    q, k, v, q_all, k_all, v_all = (linear(p[name + end], x) for end in ("", "_global") for name in "qkv")
    expected = np.zeros((B, T, D))
    for b, index in texts():
        if everyone == "first":
            marks[b, index] = index == index[0]
        for t in index:
            seen = index if marks[b, t] else index[(np.abs(index - t) <= W // 2) | marks[b, index]]
            a, c, d = (q_all, k_all, v_all) if marks[b, t] else (q, k, v)
            heads = [softmax(c[b, seen, n] @ a[b, t, n] * 8**-0.5) @ d[b, seen, n] for n in range(N)]
            expected[b, t] = out(p, np.stack(heads))
    assert_close(real(y), expected)
    plain, _ = applied(attention("global_window", heads=N, window=W), x, segments=jnp.asarray(SEGMENTS))
    none = jnp.zeros((B, T), bool)
    same, _ = applied(
        attention("global_window", heads=N, window=W), x, segments=jnp.asarray(SEGMENTS), shared={"global": none}
    )
    assert_close(real(plain), real(same))


@pytest.mark.parametrize("again,dense", [(0, 0), (2, 0), (2, 6)])
def test_block_sparse(again, dense):
    x, block = stream((1, 19, D)), 2
    segments = jnp.array([[1] * 9 + [0] * 2 + [1] * 3 + [2] * 5])
    spec = attention("block_sparse", block=block, again=again, dense=dense)
    y, p = applied(spec, x, segments=segments)
    q, k, v = (linear(p[name], x[0]) for name in "qkv")
    for index in (np.array([*range(9), 11, 12, 13]), np.arange(14, 19)):
        blocks = [index[i : i + block] for i in range(0, len(index), block)]
        last = len(blocks) - 1
        for i, own in enumerate(blocks):
            seen = {0, i - 1, i, i + 1, last} & set(range(last + 1))
            keys = np.concatenate([blocks[j] for j in sorted(seen)] + [blocks[0]] * again)
            keys = index if i in (0, last) or len(index) <= dense else keys
            for t in own:
                heads = [softmax(k[keys, n] @ q[t, n] * 8**-0.5) @ v[keys, n] for n in range(2)]
                assert_close(y[0, t], out(p, np.stack(heads)))


@pytest.mark.parametrize("block", [1, 3, 50])
def test_block_local(block):
    """Blocks of each run of a segment's tokens; a block of which all tokens only attend gives their mean."""
    x = stream()
    y, p = applied(attention("block_local", block=block), x, segments=jnp.asarray(SEGMENTS))
    heard = SEGMENTS > 0
    heard[1, :6] = False
    some, _ = applied(attention("block_local", block=block), x, heard=jnp.asarray(heard))
    q, k, v = (linear(p[name], x) for name in "qkv")

    def seen(b, t, keys):
        return out(p, np.stack([softmax(k[b, keys, n] @ q[b, t, n] * 8**-0.5) @ v[b, keys, n] for n in range(2)]))

    for b in range(B):
        first = 0
        for t in range(T):
            first = t if SEGMENTS[b, t] != SEGMENTS[b, first] else first
            own = [s for s in range(first, T) if (SEGMENTS[b, first : s + 1] == SEGMENTS[b, first]).all()]
            keys = [s for s in own if (s - first) // block == (t - first) // block]
            if SEGMENTS[b, t] > 0:
                assert_close(y[b, t], seen(b, t, keys))
            near = np.array([s for s in range(T) if s // block == t // block])
            audible = near[heard[b, near]]
            nobody = out(p, v[b, near].mean(axis=0))
            assert_close(some[b, t], seen(b, t, audible) if len(audible) else nobody)


@pytest.mark.parametrize(
    "spec,message",
    [
        (attention("block_local", block=0), "block is 0; it must be a whole number of at least 1"),
        (dict(kind="mixed_attention", heads=2, conv=4), "conv is an odd number"),
        (dict(kind="mixed_attention", heads=3), "16 does not divide among 2 · 3 heads"),
        (dict(kind="nystrom", heads=2, conv=2), "conv is an odd number"),
        (dict(kind="nystrom", heads=2, start="mean"), "start is 'mean'; it must be 'matrix' or 'batch'"),
        (attention("block_sparse", block=0), "block is 0; it must be a whole number of at least 1"),
        (attention("global_window", window=3), "an even number of tokens"),
        (attention("global_window", window=4, everyone="last"), "'given' or 'first'"),
    ],
)
def test_what_does_not_fit_is_said(spec, message):
    with pytest.raises((SpecError, XfmError), match=message):
        applied(spec, stream())
