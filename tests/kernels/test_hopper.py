"""The Hopper kernels: compiled for an H200 that is not there, simulated on the CPU, and their tables by brute force.

Compilation needs jax[cuda13] (the extra `cuda`: Python 3.12, Linux), simulation jax 0.11 or later; both are skipped,
with that reason, where it is absent. Nothing here has run on a GPU.
"""

import contextlib
import dataclasses
import functools
import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.close import assert_close
from tests.kernels import attention_cases, hopper
from tests.kernels.attention_cases import Form, expected, packed, values_and_gradients, with_lse
from xfm.kernels.attention import Dense, Dropout, Mask, Slopes, Softmax, attention
from xfm.kernels.attention.hopper.blocks import diagonals, ids, skew, spans
from xfm.kernels.platform import compiling_for, interpreting

ROOT = pathlib.Path(__file__).parents[2]
SHARED = 227 * 1024  # bytes of shared memory that a thread block of Hopper may have


# -- the tables ------------------------------------------------------------------------------------------------------

MASKS = {
    "full": lambda B, S: Mask.full(),
    "causal": lambda B, S: Mask.causal(),
    "window": lambda B, S: Mask.window(9, 4),
    "wide window": lambda B, S: Mask.window(100, 40),
    "causal window": lambda B, S: Mask.causal() & Mask.window(20, 3),
    "offset": lambda B, S: Mask.causal() & Mask(offset=jnp.int32(30), before=50),
    "prefix": lambda B, S: Mask.causal((jnp.arange(S)[None] // 3) % 5 == jnp.arange(B)[:, None]),
}


def drawn_segments(B, length):
    """Runs of five tokens, each of one of two texts or of padding."""
    return jnp.asarray(np.random.default_rng(length).integers(0, 3, (B, length)).repeat(5, 1)[:, :length])


@pytest.mark.parametrize("walk", ["keys", "queries"])
@pytest.mark.parametrize("segments", ["none", "packed", "unsorted"])
@pytest.mark.parametrize("mask", MASKS)
def test_spans_hold_every_visible_score_and_the_part_without_a_mask_no_hidden_one(mask, segments, walk):
    B, T, S, sizes = 2, 90, 75, (16, 8)
    mask = MASKS[mask](B, S)
    pair = dict(
        none=None,
        packed=(packed(B, T), packed(B, S)),
        unsorted=tuple(
            jnp.asarray(np.random.default_rng(n).integers(0, 3, (B, n)).repeat(5, 1)[:, :n]) for n in (T, S)
        ),
    )[segments]
    marks = ids(pair, mask.prefix, (B, T, S))
    table = np.asarray(spans(mask, marks, (T, S), sizes, walk))
    query, key = jnp.arange(T) + mask.start, jnp.arange(S)
    for b in range(B):
        seen = mask.visible(query, key, None if mask.prefix is None else mask.prefix[b])
        seen = np.ones((T, S), bool) if seen is None else np.asarray(seen)
        if pair is not None:
            q, k = (np.asarray(a[b]) for a in pair)
            seen = seen & (q[:, None] == k[None]) & (k > 0)[None]
        seen, rows, columns = (seen, *sizes) if walk == "keys" else (seen.T, *sizes[::-1])
        row = table[b if len(table) > 1 else 0]
        assert len(row) == -(-len(seen) // rows)
        for i, (first, whole, ragged, last) in enumerate(row):
            part = seen[i * rows : (i + 1) * rows]
            assert 0 <= first <= whole <= ragged <= last <= -(-part.shape[1] // columns)
            assert not part[:, : first * columns].any() and not part[:, last * columns :].any()
            assert part[:, whole * columns : ragged * columns].all()


def test_spans_are_tight():
    """What skipping is for: a window of 64 + 64 visits a few blocks of many, packed texts only their own."""
    window = np.asarray(spans(Mask.window(64, 64), None, (8192, 8192), (128, 128), "keys"))[0]
    assert (window[:, 3] - window[:, 0]).max() == 3
    causal = np.asarray(spans(Mask.causal(), None, (8192, 8192), (128, 128), "keys"))[0]
    assert (causal[:, 3] - causal[:, 0]).sum() == 64 * 65 // 2 and (causal[:, 2] - causal[:, 1]).sum() == 64 * 63 // 2
    texts = jnp.arange(8192)[None] // 512 + 1
    own = np.asarray(spans(Mask.full(), ids((texts, texts), None, (1, 8192, 8192)), (8192, 8192), (128, 128), "keys"))
    assert (own[..., 3] - own[..., 0] == 4).all() and (own[..., 2] - own[..., 1] == 4).all()


def test_a_query_has_something_in_common_with_the_keys_it_sees_only():
    q, k = (jnp.array([[0, 1, 2, 2]]), jnp.array([[1, 0, 2]]))
    q_ids, k_ids = ids((q, k), jnp.array([[True, False, False]]), (1, 4, 3))
    common = q_ids[0][:, None] == (k_ids[0] >> 1)[None]
    assert common.tolist() == [[False] * 3, [True, False, False], [False, False, True], [False, False, True]]
    assert (k_ids[0] & 1).tolist() == [1, 0, 0]


@pytest.mark.parametrize("step", [1, -1])
def test_skew_is_the_line_along_the_diagonals(step):
    line = jnp.arange(1.0, 24.0).reshape(1, -1)
    got = np.asarray(skew(line, 8, 16, 5, step))[0]
    for r in range(8):
        for x in range(16):
            place = 5 + step * (x - r)
            assert got[r, x] == (line[0, place] if 0 <= place < 23 else 0)


@pytest.mark.parametrize("rows,columns", [(8, 4), (8, 8), (4, 8)])
def test_diagonals_sum_bands_of_blocks(rows, columns):
    tiles = np.random.default_rng(0).normal(size=(2, 5, rows, columns))
    want = np.zeros((2, columns * 4 + rows + columns - 1))
    for m in range(5):
        for r in range(rows):
            for c in range(columns):
                want[:, columns * m + c - r + rows - 1] += tiles[:, m, r, c]
    np.testing.assert_allclose(diagonals(jnp.asarray(tiles, jnp.float32)), want, atol=1e-5)


# -- what is refused -------------------------------------------------------------------------------------------------


def test_what_they_cannot_do_is_named():
    q = jnp.zeros((1, 8, 2, 64), jnp.bfloat16)

    def refusal(implementation, q=q, **given):
        with compiling_for("gpu"), pytest.raises(NotImplementedError, match=implementation) as caught:
            jax.eval_shape(lambda q: attention(q, q, q, implementation=implementation, **given), q)
        return str(caught.value)

    everyone = Mask.window(1, 1, everyone=jnp.zeros((1, 8), bool))
    assert "mask.window" not in refusal("cudnn", mask=Mask.window(2, 3)) and "mask.after=3" in refusal(
        "cudnn", mask=Mask.window(2, 3)
    )
    assert "float32" in refusal("cudnn", q.astype(jnp.float32))
    assert "segments" in refusal("cudnn", segments=jnp.ones((1, 8), jnp.int32))
    assert "Slopes" in refusal("cudnn", bias=Slopes(jnp.ones(2)))
    assert "dense bias of float32" in refusal("cudnn", bias=Dense(jnp.zeros((1, 2, 8, 8))))
    assert "dropout" in refusal("cudnn", dropout=Dropout(0.1, jnp.uint32(0)))
    assert "softmax.cap" in refusal("cudnn", softmax=Softmax(cap=2.0))
    assert "7 queries" in refusal("cudnn", q[:, :7])
    assert "width 20" in refusal("cudnn", jnp.zeros((1, 8, 2, 20), jnp.bfloat16))
    if jax.__version_info__ < (0, 11):
        assert f"jax {jax.__version__}" in refusal("hopper")
        return
    assert "float32" in refusal("hopper", q.astype(jnp.float32))
    assert "width 320" in refusal("hopper", jnp.zeros((1, 8, 2, 320), jnp.bfloat16))
    assert "everyone" in refusal("hopper", mask=everyone)
    assert "softmax.clip" in refusal("hopper", softmax=Softmax(clip=(-0.1, 1.0)))
    assert "Sigmoid" in refusal("hopper", softmax="sigmoid")


# -- simulated -------------------------------------------------------------------------------------------------------

simulated = pytest.mark.skipif(
    jax.__version_info__ < (0, 11), reason=f"jax {jax.__version__} cannot simulate Mosaic GPU; jax 0.11 can"
)


@contextlib.contextmanager
def races_detected():
    from xfm.kernels import mosaic_gpu

    with interpreting("gpu", mosaic_gpu.simulation(detect_races=True)):
        yield


FORM = Form("hopper", races_detected, ("clip", "Sigmoid", "everyone", "pattern", "Relative"))
HERE = {name: dataclasses.replace(case) for name, case in attention_cases.CASES.items()}
QUICK = ("mask: causal window", "bias: slopes", "grouped: 2")


# A temperature by head goes into q, which is rounded once more, and its gradient is a sum of what dq was rounded to.
ROUNDED_TWICE = ("temperature by head", "temperature, cap and sink", "softmax with")


def check(name):
    """Against float32 of the same rounded inputs: weights and values are rounded at 2^-12, the gradients twice."""
    case = HERE[name]
    actual = FORM.honoured(lambda: values_and_gradients(case, "hopper", jnp.float16))
    roundings = 16 if any(words in name for words in ROUNDED_TWICE) else 4
    assert_close(actual, expected(case, jnp.float16), rtol=roundings * 2**-12)


@simulated
@pytest.mark.parametrize("name", QUICK)
def test_simulated(name):
    check(name)


@simulated
@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in HERE if name not in QUICK])
def test_simulated_all(name):
    check(name)


@simulated
def test_nan_in_padding_reaches_nobody_and_every_bit_comes_again():
    segments, rng = packed(2, 80), np.random.default_rng(0)
    real = (segments > 0)[:, :, None, None]
    clean = tuple(jnp.where(real, jnp.asarray(rng.normal(size=(2, 80, 1, 64)), jnp.float16), 0) for _ in range(4))
    clean += (jnp.where(real[..., 0], jnp.asarray(rng.normal(size=(2, 80, 1)), jnp.float32), 0),)
    dirty = tuple(jnp.where(real if a.ndim == 4 else real[..., 0], a, jnp.nan) for a in clean)

    @jax.jit
    def run(q, k, v, dy, dlse):
        attend = functools.partial(with_lse, segments=segments, mask=Mask.window(20, 30))
        with races_detected():
            (y, _), back = jax.vjp(functools.partial(attend, implementation="hopper"), q, k, v)
            return y, *back((dy, dlse))

    for first, again in zip(run(*clean), run(*dirty), strict=True):
        assert jnp.isfinite(again).all() and (first == again).all() and not jnp.where(real, 0, again).any()


@simulated
@pytest.mark.slow
def test_thread_blocks_that_walk_over_many_tiles(monkeypatch):
    """As on a GPU with more tiles than multiprocessors: slots and rings are filled again while others still compute."""
    monkeypatch.setattr("xfm.kernels.attention.hopper.plan.MULTIPROCESSORS", 3)
    case = attention_cases.Case(3, 300, N=2, K=1, H=64, mask=lambda B, T, S, N: Mask.window(70, 90))
    actual = FORM.honoured(lambda: values_and_gradients(case, "hopper", jnp.float16))
    assert_close(actual, expected(case, jnp.float16), rtol=4 * 2**-12)


@simulated
@pytest.mark.slow
@pytest.mark.parametrize("drop", [0.0, 0.2])
def test_the_widest_heads_over_many_blocks(drop):
    """Which are cut in narrower blocks than others, with all that takes registers beside."""
    case = attention_cases.Case(
        1,
        150,
        N=2,
        K=1,
        H=256,
        mask=lambda B, T, S, N: Mask.causal() & Mask.window(70, 90),
        bias=lambda B, T, S, N: Slopes(jnp.linspace(0.05, 0.1, N)),
        softmax=lambda N: Softmax(cap=3.0),
        drop=drop,
    )
    actual = FORM.honoured(lambda: values_and_gradients(case, "hopper", jnp.float16))
    assert_close(actual, expected(case, jnp.float16), rtol=4 * 2**-12)


# -- compiled --------------------------------------------------------------------------------------------------------

has_cuda = importlib.util.find_spec("jax_plugins") and importlib.util.find_spec("jax_plugins.xla_cuda13")
compiled = pytest.mark.skipif(
    not has_cuda, reason="compiling for Hopper needs jax[cuda13], the extra `cuda` (Python 3.12 or later, Linux)"
)
DEFAULT = ("bfloat16 64", "float16 64", "bfloat16 128", "float16 128", "cudnn full 64", "cudnn causal window 128")


@functools.cache
def reports(names: tuple[str, ...]) -> dict:
    """What the compiler said of each case, all in one child process."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-m", "tests.kernels.hopper", *names],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    lines = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    assert len(lines) == len(names), run.stderr[-2000:]
    return {line["name"]: line for line in lines}


def check_report(report):
    if report["name"].startswith("cudnn"):
        assert any(call.endswith("Backward") for call in report["calls"]) and len(report["calls"]) == 2
        return
    kernels = report["kernels"]
    assert {"attention_forward", "attention_dq"} <= set(kernels)
    for name, kernel in kernels.items():
        assert kernel["architecture"] == "sm_90a", name
        assert kernel["shared"] <= SHARED, f"{name} takes {kernel['shared']} bytes of shared memory"
        assert kernel["wgmma"] >= 8 and kernel["tma"] >= 4, name
        if any("C7504" in warning for warning in kernel["warnings"]):
            # jaxlib 0.12 assembles kernels as parts of a larger program, where ptxas ignores that workers take the
            # registers which the copier gives back: then they do spill. It is nothing that a kernel could change.
            assert jax.__version_info__ >= (0, 12), kernel["warnings"]
            continue
        assert kernel["spilled"] == 0, f"{name} spills {kernel['spilled']} bytes"
        assert kernel["registers"] <= 255, name
        assert not any("C751" in warning for warning in kernel["warnings"]), kernel["warnings"]


@compiled
@pytest.mark.parametrize("name", DEFAULT)
def test_compiled(name):
    check_report(reports(DEFAULT)[name])


REST = tuple(name for name in hopper.CASES if name not in DEFAULT)


@compiled
@pytest.mark.slow
@pytest.mark.parametrize("name", REST)
def test_compiled_all(name):
    check_report(reports(REST)[name])
