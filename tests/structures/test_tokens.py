"""Layers over real tokens only give what padded rows give: every text config, values and gradients."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xfm
from tests.close import assert_close
from tests.drawn import begun, drawn, run, shapes
from tests.objectives.test_rows import in_parts
from xfm.catalogue import entries
from xfm.data import Batches
from xfm.data.layout import Tokens, spans
from xfm.data.source import Arrays
from xfm.describe import example_batch
from xfm.objectives import build_objective
from xfm.parts import SLOTS
from xfm.sharding import batch_sharding, make_mesh
from xfm.spec import SpecError, plain
from xfm.structures import STRUCTURES
from xfm.structures.tokens import check_unpadded, laid, repad, unpad
from xfm.vocabulary import Vocabulary

TEXT = [entry.config for entry in entries() if entry.family in ("text", "sequence")]
# Labels of texts, of tokens and of positions, with windows; the heads and mixers of all the others are slow.
COVERING = ("text/modernbert", "text/finetune_classification", "text/finetune_tagging")
REFUSED = ("text/fnet", "text/nystromformer", "text/bigbird", "text/canine", "text/funnel", "text/xlnet")


PARTS = {**SLOTS["embed"], **SLOTS["mixer"], **SLOTS["sight"], **STRUCTURES}
WHOLE = [kind for kind, part in PARTS.items() if getattr(part, "whole_row", None) is not None]


@pytest.mark.parametrize("kind", PARTS)
def test_every_part_that_reads_a_row_says_whether_it_needs_a_whole_one(kind):
    assert isinstance(PARTS[kind].whole_row, str | None)
    if kind in WHOLE:
        with pytest.raises(SpecError, match=f"and '{kind}' {PARTS[kind].whole_row}; set layout 'padded'"):
            check_unpadded([dict(part=dict(kind=kind))])


def tiny(name):
    return importlib.import_module("xfm.configs." + name.replace("/", ".")).get_config("tiny")


def ragged(texts, length, rng):
    """Segments [texts length]: texts of random length, the third one torn apart by padding, the fourth two texts."""
    sizes = np.maximum(rng.integers(1, length + 1, texts), 4)
    sizes[0], sizes[1] = length, 4
    segments = (np.arange(length) < sizes[:, None]).astype(np.int32)
    segments[2, 1] = 0
    segments[3, sizes[3] // 2 : sizes[3]] = 2
    return segments


def batch_of(config, rows=8):
    """Random texts of random lengths, of the config's shapes."""
    rng, batch = np.random.default_rng(0), {}
    words = min(2048, xfm.build(config.model).vocab or 2048)
    for name, leaf in example_batch(config, rows).items():
        limit = {"tokens": words, "labels": config.objective.get("classes", 4), "types": 2}.get(name, 2)
        draw = rng.integers(5 if name == "tokens" else 0, limit, leaf.shape)
        batch[name] = draw.astype(leaf.dtype)
    if config.objective.kind == "retrieval":
        config.objective.among = rows // 2
        batch = {name: a.reshape(rows // 2, 2, *a.shape[1:]) for name, a in batch.items()}
    *lead, length = batch["tokens"].shape
    segments = ragged(int(np.prod(lead)), length, rng)
    if config.objective.kind not in ("masked_lm", "replaced_token", "causal_lm"):
        segments[2:4] = segments[2:4] > 0  # one text a row
        segments[2, 1] = 1
    batch["segments"] = segments.reshape(batch["tokens"].shape)
    batch.pop("positions", None)
    if "weights" in batch:
        batch["weights"] *= batch["segments"]
    return in_parts(batch, 2) if config.objective.kind == "retrieval" else batch


def with_cells(batch, groups=1, **how):
    """The batch with its cells, in the order that it has."""
    count = len(batch["tokens"])
    layout = Tokens(window=1, **how).over(Batches(Arrays(batch), count, None), groups)
    return layout.rows(0)


def objective_of(config):
    words = min(2048, xfm.build(config.model).vocab or 2048)
    config.model.dtype = "float32"
    return build_objective(config, Vocabulary(size=words, pad=0, unknown=1, cls=2, sep=3, mask=4, special=(0, 1, 2, 3)))


@pytest.mark.parametrize(
    "name", [n if n in (*COVERING, *REFUSED) else pytest.param(n, marks=pytest.mark.slow) for n in TEXT]
)
def test_unpadded_equals_padded(name, key):
    """The loss, its metrics and the gradient of every parameter; or a refusal that names the part."""
    config = tiny(name)
    if name in REFUSED:
        with pytest.raises(SpecError, match=f"several texts into a row, and '({'|'.join(WHOLE)})'"):
            check_unpadded(plain(config.model))
        return
    check_unpadded(plain(config.model), plain(config.objective))
    batch = batch_of(config)
    objective = objective_of(config)
    params, extra = begun(objective, batch, by=0.02)

    @jax.jit
    def run(params, batch):
        def loss(params):
            value, metrics, _ = objective.loss(params, extra, batch, key, train=False)
            return value, metrics

        return jax.value_and_grad(loss, has_aux=True)(params)

    laid_out = with_cells(batch)
    assert laid_out["cells"].size < 0.8 * batch["tokens"].size
    (loss, metrics), gradient = run(params, laid_out)
    (padded_loss, padded_metrics), padded_gradient = run(params, batch)
    assert_close((loss, metrics), (padded_loss, padded_metrics))
    assert_close(gradient, padded_gradient)


def network(**changes):
    spec = dict(
        kind="stack",
        embed=dict(kind="tokens", vocab=50, width=16, types=2, position=dict(kind="learned", length=32)),
        pattern=[
            dict(kind="attention", heads=2, window=5, position=dict(kind="alibi")),
            dict(kind="attention", heads=2),
            dict(kind="mlp", hidden=32),
        ],
        repeats=2,
        norms={"in": dict(kind="layernorm")},
        heads={
            pool: dict(kind="vector", pool=dict(kind=pool, **more))
            for pool, more in dict(mean={}, last={}, first={}, at_token={}, attention=dict(heads=2)).items()
        },
        dtype="float32",
    )
    return xfm.build(spec | changes)


def texts(rows=8, length=20):
    """Also a text that padding stands before, and one that is all padding."""
    rng = np.random.default_rng(1)
    segments = ragged(rows, length, rng)
    segments[4] = segments[4, ::-1]
    segments[5] = 0
    draw = lambda limit: rng.integers(0, limit, segments.shape).astype(np.int32)  # noqa: E731
    marks = dict(types=draw(2), positions=draw(32), prefix=draw(2), heard=draw(2) | (np.arange(length) == length // 2))
    return dict(tokens=draw(50), segments=segments, **marks)  # any positions: RoBERTa's begin with 2


def between(batch):
    """Which tokens stand from the first real one of a row to its last."""
    return np.stack([(np.arange(20) >= a) & (np.arange(20) < b) for a, b in spans(batch["segments"])])[..., None]


POOLED = texts() | dict(at=np.tile(np.arange(3), (8, 1)))


@functools.cache
def pooled(mask):
    """A network with every pool and a head for tokens, and its parameters."""
    model = network(mask=mask, heads={**network().heads, "tags": dict(kind="tagging", classes=3)})
    return model, drawn(model, POOLED)


@pytest.mark.parametrize("groups,length", [(1, None), (2, None), (4, 48)])
@pytest.mark.parametrize("mask", ["full", "causal"])
def test_pools_positions_types_and_marks(mask, groups, length):
    """Every pool, rows of two texts, padding before, within and after, prefixes, and tokens that only attend."""
    batch, (model, params) = POOLED, pooled(mask)
    real = batch["segments"] > 0
    some, kept = real.any(1), real[:, :3, None]

    def shown(out):
        out = dict(out, hidden=np.where(real[..., None], out["hidden"], 0), tags=np.where(kept, out["tags"], 0))
        return {name: np.asarray(value)[some] for name, value in out.items()}

    out = run(model, params, with_cells(batch, groups, length=length))
    assert_close(shown(out), shown(run(model, params, batch)))
    assert not np.where(between(batch), 0, out["hidden"]).any()


def test_there_and_back_is_the_same_on_real_tokens_and_zero_elsewhere():
    batch = with_cells(texts(), 2)
    x = np.random.default_rng(0).standard_normal((8, 20, 3), np.float32)
    own = between(batch)
    there = jax.jit(lambda x: unpad(x, batch["cells"]))
    back = jax.jit(lambda y: repad(y, batch["cells"], (8, 20)))
    np.testing.assert_array_equal(back(there(x)), jnp.where(own, x, 0))
    # Each is the other's transpose, so gradients are as exact.
    np.testing.assert_array_equal(jax.vjp(there, x)[1](there(x))[0], jnp.where(own, x, 0))
    np.testing.assert_array_equal(jax.vjp(back, there(x))[1](x)[0], there(x))
    filled = jnp.where(own, x, jnp.nan)
    assert jnp.isfinite(there(filled)).all()


def test_texts_of_a_row_stay_apart():
    batch = with_cells(texts(), 2)
    inner = jax.tree.map(np.asarray, jax.jit(laid)(batch))
    for row, segments in enumerate(inner["segments"]):
        of = batch["cells"].reshape(-1, batch["cells"].shape[-1])[row] // 20
        for number in np.unique(segments[segments > 0]):
            assert len(set(np.asarray(of)[segments == number])) == 1
    counts = [len(np.unique(row[row > 0])) for row in inner["segments"]]
    assert sum(counts) == sum(len(np.unique(row[row > 0])) for row in texts()["segments"])


def test_cost_falls_with_the_real_tokens(key):
    """Of the compiled program, FLOPs are as the share of rows that are computed (Zhai et al. 2023)."""
    model, batch = network(heads={}), texts(rows=32)
    params = drawn(model, batch)
    laid_out = with_cells(batch)

    def flops(batch):
        return jax.jit(lambda batch: model.apply(params, batch)).lower(batch).compile().cost_analysis()["flops"]

    share = laid_out["cells"].size / batch["tokens"].size
    assert share < 0.75
    assert flops(laid_out) / flops(batch) == pytest.approx(share, rel=0.05)


def test_devices_keep_their_texts(key):
    """On eight devices no token is exchanged, and the answer is that of one."""
    sharding = batch_sharding(make_mesh({"data": 8}))
    model, batch = network(heads={}), with_cells(texts(rows=32), 8)
    params = drawn(model, batch)
    split_over = jax.jit(lambda params, batch: model.apply(params, batch)["hidden"], out_shardings=sharding)
    split = jax.device_put(batch, sharding)
    program = split_over.lower(params, split).compile().as_text()
    assert not any(word in program for word in ("all-gather", "all-to-all", "collective-permute", "all-reduce"))
    assert_close(split_over(params, split), run(model, params, batch)["hidden"])


def test_refusals(key):
    nested = dict(kind="bidirectional", mixer=dict(kind="fourier"))
    with pytest.raises(SpecError, match="and 'fourier' transforms a whole row"):
        check_unpadded([dict(part=[nested, dict(kind="mlp", hidden=3)])])
    check_unpadded(dict(heads=dict(label=dict(kind="funnel"))))  # heads read rows of one text
    model, batch = network(residual=dict(kind="plain", drop_path=0.1)), with_cells(texts())
    with pytest.raises(SpecError, match="'plain' drops whole rows by drop_path, which 0 turns off; set layout"):
        shapes(model, batch)
    model = network(mask="causal")
    with pytest.raises(SpecError, match="piece by piece from padded rows only"):
        jax.eval_shape(lambda: model.init(key, batch, state=model.init_state(8, 20)))
    embed, mlp = dict(kind="tokens", vocab=50, width=16), dict(kind="mlp", hidden=3)
    funnel = xfm.build(dict(kind="funnel", embed=embed, blocks=[1], pattern=[mlp]))
    with pytest.raises(SpecError, match="'funnel' pools neighbours"):
        shapes(funnel, batch)
