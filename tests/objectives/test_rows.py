"""What every objective owes: a finite loss that follows from its key, a gradient for each parameter, that rows which
fill up a batch count nothing, and that microbatches have the gradient of the whole batch.

A new objective needs an example here.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.close import assert_close
from tests.drawn import noise, shapes
from tests.keys import key as hashed
from xfm.batch import texts_of_row, with_prefix
from xfm.errors import XfmError
from xfm.objectives import OBJECTIVES, build_objective
from xfm.objectives.base import total
from xfm.paths import flatten
from xfm.train.state import State
from xfm.train.step import make_step
from xfm.vocabulary import Vocabulary

V, B, T = 24, 6, 12
ROUTED = "tests.objectives.routed:Routed"
# Id 0, of which rows that fill a batch consist, is as any other here, so that nothing passes by being special.
VOCABULARY = Vocabulary(size=V, pad=0, unknown=1, cls=2, sep=3, mask=4, special=(1, 2, 3, 4))
EMBED = dict(kind="tokens", vocab=V, width=8, position=dict(kind="learned", length=T))


def stack(embed=EMBED, mask=None, **heads):
    shown = {} if mask is None else {"mask": mask}
    return dict(kind="stack", embed=embed, pattern=[dict(kind="mlp", hidden=8)], heads=heads, **shown)


def routed(network, **fields):
    """The network with a part in two layers that sows a loss "router"."""
    return dict(network, pattern=[*network["pattern"], dict(kind=ROUTED)], repeats=2, **fields)


def texts(*shape):
    """Rows of 12, 4, 12, … tokens."""
    tokens = np.random.default_rng(0).integers(5, V, (*shape, T)).astype(np.int32)
    lengths = np.where(np.arange(shape[0]) % 2, 4, T).reshape(-1, *(1,) * len(shape))
    segments = np.broadcast_to(np.arange(T) < lengths, tokens.shape).astype(np.int32)
    return {"tokens": np.where(segments > 0, tokens, 0), "segments": segments}


def several(rows, count):
    """Rows of `count` texts, with the prefixes of `texts_of_row`."""
    return in_parts(texts(rows, count), count)


def in_parts(batch, count):
    """Arrays [B n ...] as the parts of n texts."""
    parts = enumerate(texts_of_row(count))
    return {name: x for i, p in parts for name, x in with_prefix(p, {k: v[:, i] for k, v in batch.items()}).items()}


def running(*shape):
    """The same without segments, the rest of a row being special tokens, which are never predicted."""
    whole = texts(*shape)
    return {"tokens": np.where(whole["segments"] > 0, whole["tokens"], 1)}


def images():
    return {"images": np.random.default_rng(0).normal(size=(B, 4, 4, 1)).astype(np.float32)}


SOWN = dict(router=0.5)
MLM = dict(kind="mlm", vocab=V)
LABEL = dict(kind="classification", classes=3)
MAPS = dict(kind="linear_maps", classes=3)
CLASSES = np.arange(B, dtype=np.int32) % 3
SCORES = np.linspace(0, 1, B, dtype=np.float32)
QUESTIONS = dict(kind="questions", vocab=V, width=8)
GENERATOR = stack(mlm=MLM)
RELATIVE = dict(stack(QUESTIONS, lm=MLM), pattern=[dict(kind="relative", heads=2)])
VECTOR = stack(vector=dict(kind="vector", pool=dict(kind="mean")))
TAGS = {"labels": texts(B)["tokens"] % 3, "weights": texts(B)["segments"]}
NEAREST, ORDERED = dict(kind="infonce", ways="both", temperature=2.0), dict(kind="cosent", scale=0.5)
ANSWERS = {"labels": np.stack([CLASSES, CLASSES], 1)}

PATCHES = dict(kind="patches", patch=2, width=8, position=dict(kind="sinusoidal_2d"))
SINES = dict(kind="sinusoidal", channels="interleaved")
AUTOENCODER = dict(
    stack(PATCHES), kind="autoencoder", decoder=dict(
        embed=dict(PATCHES, kind="latents"), pattern=[dict(kind="attention", heads=2)],
        heads=dict(patches=dict(kind="values", width=4)),
    ),
)  # fmt: skip
OF_LAYERS = dict(  # a decoder of each of two layers, the lower one with a tile of 2 x 2 for each patch
    AUTOENCODER, taps=(1,), repeats=2,
    beside=dict(layer_1=dict(AUTOENCODER["decoder"], heads=dict(finer=dict(kind="tiles", width=3)))),
    decoder=dict(AUTOENCODER["decoder"], heads=dict(patches=dict(kind="values", width=3))),
)  # fmt: skip
OF_LOSSES = dict(  # a second decoder of what the first one's embedding makes
    AUTOENCODER, decoder=dict(AUTOENCODER["decoder"], taps=(0,)),
    beside=dict(inner_0=dict(
        embed=dict(kind="stream", width=8), pattern=[dict(kind="mlp", hidden=8)], norm=dict(kind="rmsnorm"),
        heads=dict(losses=dict(kind="values", width=2)),
    )),
)  # fmt: skip
LEVELS = dict(
    finer=dict(target=dict(kind="hog", cell=1, bins=3), weight=0.5),
    patches=dict(target=dict(kind="hog", cell=4, bins=3), merge=2),
)
MEAN_LABEL = dict(LABEL, pool=dict(kind="mean"))
PROTOTYPES = dict(kind="prototypes", prototypes=5, hidden=8, bottleneck=4, pool=dict(kind="mean"))

TOWERS = dict(
    kind="towers",
    towers=dict(
        text=stack(vector=dict(kind="vector")),
        vision=stack(dict(kind="patches", patch=2, width=8), vector=dict(kind="vector")),
    ),
    vectors=dict(text="vector", vision="vector"),
    scale=3.0,
)


def pictured(rows):
    """Texts with an image each."""
    return {f"text/{name}": x for name, x in texts(rows).items()} | {"vision/images": images()["images"]}


# name -> (kind, fields of the objective, network, batch)
EXAMPLES = {
    "masked_lm": ("masked_lm", {}, stack(mlm=MLM), texts(B)),
    "masked_lm of running text": ("masked_lm", dict(units=dict(kind="span")), stack(mlm=MLM), running(B)),
    "masked_lm in pairs": (
        "masked_lm", dict(pairs="next"), stack(dict(EMBED, types=2), mlm=MLM, nsp=dict(LABEL, classes=2)), running(B)
    ),
    "replaced_token": (
        "replaced_token", dict(generator=GENERATOR, weight=3.0), stack(replaced=dict(kind="detection")), texts(B)
    ),
    "replaced_token of running text": (
        "replaced_token", dict(generator=GENERATOR), stack(replaced=dict(kind="detection")), running(B)
    ),
    "replaced_token, routed": (
        "replaced_token", dict(generator=dict(routed(GENERATOR), pattern=[dict(kind=ROUTED)]), sown=SOWN),
        routed(stack(replaced=dict(kind="detection")), loops=2), texts(B),
    ),
    "causal_lm": ("causal_lm", {}, stack(mask="causal", lm=MLM), texts(B)),
    "causal_lm of running text": ("causal_lm", {}, stack(mask="causal", lm=MLM), running(B)),
    "permutation_lm": ("permutation_lm", {}, RELATIVE, texts(B)),
    "permutation_lm in pairs": ("permutation_lm", dict(pairs="typed"), RELATIVE, running(B)),
    "classification": ("classification", dict(classes=3), stack(label=LABEL), {**texts(B), "labels": CLASSES}),
    "classification of images": (
        "classification", dict(classes=3), stack(dict(kind="patches", patch=2, width=8), label=LABEL),
        {**images(), "labels": CLASSES},
    ),
    "classification of images, routed": (
        "classification", dict(classes=3, sown=SOWN),
        routed(stack(dict(kind="patches", patch=2, width=8), label=LABEL)), {**images(), "labels": CLASSES},
    ),
    "curriculum of images": (
        "curriculum", dict(objective=dict(kind="classification", classes=3), stages=[(0, 2), (3, 4)]),
        stack(dict(kind="patches", patch=2, width=8), label=LABEL), {**images(), "labels": CLASSES},
    ),
    "regression": ("regression", {}, stack(label=dict(LABEL, classes=1)), {**texts(B), "labels": SCORES}),
    "tagging": ("tagging", dict(classes=3), stack(tags=dict(kind="tagging", classes=3)), {**texts(B), **TAGS}),
    "segmentation": (
        "segmentation", dict(classes=3, class_weights=(1.0, 2.0, 0.5), ignore=4, auxiliary=dict(further=0.4)),
        dict(stack(dict(PATCHES, cls=0)), heads=dict(mask=MAPS, further=MAPS)),
        {**images(), "labels": np.arange(B * 16, dtype=np.int32).reshape(B, 4, 4) % 5},
    ),
    "clicks": (
        "clicks", dict(points=3, further=2, ignore=4),
        dict(
            stack(dict(kind="clicked", embed=dict(PATCHES, cls=0), radius=1)), heads=dict(mask=dict(MAPS, classes=1))
        ),
        {**images(), "labels": np.arange(B * 16, dtype=np.int32).reshape(B, 4, 4) // 3 % 5},
    ),
    "span": ("span", {}, stack(span=dict(kind="span")), {**texts(B), **ANSWERS}),
    "retrieval": ("retrieval", dict(form=NEAREST, among=4), VECTOR, several(B, 2)),
    "retrieval, routed": ("retrieval", dict(form=NEAREST, among=4, sown=SOWN), routed(VECTOR), several(B, 2)),
    "retrieval by order": ("retrieval", dict(form=ORDERED), VECTOR, {**several(B, 2), "labels": SCORES}),
    "retrieval of scores": ("retrieval", dict(form=dict(kind="cosine")), VECTOR, {**several(B, 2), "labels": SCORES}),
    "masked_images": ("masked_images", {}, AUTOENCODER, images()),
    "masked_images, routed": ("masked_images", dict(sown=SOWN), routed(AUTOENCODER), images()),
    "local_masked_images": ("local_masked_images", dict(levels=LEVELS), OF_LAYERS, images()),
    "hard_patches": ("hard_patches", dict(weight=0.5, mask=dict(kind="by_loss", rate=0.5)), OF_LOSSES, images()),
    "position_prediction": (
        "position_prediction", dict(mask=dict(kind="random", rate=0.5)),
        dict(
            stack(dict(PATCHES, position=dict(kind="none")), positions=dict(kind="tagging", classes=4)),
            pattern=[dict(kind="attention", heads=2)],
        ), images(),
    ),
    "supervised_masked_images": (
        "supervised_masked_images",
        dict(classes=3, target=dict(kind="pixels"), mask=dict(kind="random", rate=0.5), sown=SOWN),
        routed(dict(AUTOENCODER, heads=dict(label=MEAN_LABEL))), {**images(), "labels": CLASSES},
    ),
    "mask_align": (
        "mask_align",
        dict(read=(1, 2), width=6, mask=dict(kind="random", rate=0.5), teacher=dict(network=dict(
            stack(dict(PATCHES, width=6, position=dict(kind="none"))), repeats=2,
        ))),
        dict(stack(PATCHES), repeats=2, taps=(1, 2)), images(),
    ),
    "joint_embedding": (
        "joint_embedding", dict(mask=dict(kind="multi_block", scale=(0.25, 0.5), visible=0.5)),
        dict(AUTOENCODER, decoder=dict(AUTOENCODER["decoder"], heads=dict(patches=dict(kind="values", width=8)))),
        images(),
    ),
    "self_distillation of images": (
        "self_distillation", dict(temperatures=(0.5, 0.4, 0.7, 10)), stack(PATCHES, prototypes=PROTOTYPES), images(),
    ),
    "self_distillation of views": (
        "self_distillation", dict(patches=0.5, koleo=0.1, centring="sinkhorn", temperatures=(0.5, 0.4, 0.7, 10)),
        dict(
            stack(dict(PATCHES, mask="token"), prototypes=PROTOTYPES, patches=dict(PROTOTYPES, pool=None)),
            pattern=[dict(kind="attention", heads=2)],
        ),
        {**images(), "global_1/images": images()["images"][:, ::-1], "local_0/images": images()["images"][:, 1:3, :2]},
    ),
    "instance_discrimination": (
        "instance_discrimination", dict(rows=9),
        stack(PATCHES, row=dict(kind="instances", rows=9, pool=dict(kind="mean"))),
        {**images(), "row": np.array([3, 8, 0, -1, 7, 3], np.int32)},
    ),
    "distillation": (
        "distillation",
        dict(classes=3, teacher=dict(network=stack(dict(kind="patches", patch=2, width=4), label=MEAN_LABEL))),
        stack(PATCHES, label=MEAN_LABEL, distillation=MEAN_LABEL), {**images(), "labels": CLASSES},
    ),
    "distillation of soft targets": (
        "distillation",
        dict(classes=3, form="soft", taught="label", teacher=dict(network=stack(PATCHES, label=MEAN_LABEL))),
        stack(PATCHES, label=MEAN_LABEL), {**images(), "labels": CLASSES},
    ),
    "stored_distillation": (
        "stored_distillation", dict(classes=3), stack(PATCHES, label=MEAN_LABEL),
        {
            **images(), "labels": CLASSES, "taught/shares": np.tile(np.float32([0.6, 0.3]), (B, 1)),
            "taught/classes": np.stack([CLASSES, (CLASSES + 1) % 3], axis=1),
        },
    ),
    "masked_images of tokens": (
        "masked_images",
        dict(shown="tokens", target=dict(kind="pixels", distance="absolute"), mask=dict(kind="block", rate=0.5)),
        stack(dict(PATCHES, mask="token"), pixels=dict(kind="pixels", stride=2, channels=1)), images(),
    ),
    "corrupted_images": (
        "corrupted_images", dict(weight=0.5, largest=0.6),
        stack(PATCHES, vector=dict(kind="vector"), pixels=dict(kind="pixels", stride=2, channels=1)), images(),
    ),
    "masked_images of padding": (
        "masked_images",
        dict(shown="padding", mask=dict(kind="units", rate=0.5), target=dict(kind="pixels", scale="patch", window=2)),
        dict(
            kind="pyramid",
            embed=dict(kind="patches", stem=dict(kind="conv", size=3, stride=1, margin=1), width=4, cls=0),
            stages=[
                dict(pattern=[dict(kind="convnext", hidden=8)]),
                dict(down=dict(kind="strided_conv", width=8), pattern=[dict(kind="convnext", hidden=8)]),
            ],
            heads=dict(
                pixels=dict(kind="unet_pixels", doublings=1, width=8, channels=1, norm=dict(kind="layernorm"))
            ),
        ),
        images(),
    ),
    "masked_images of codes": (
        "masked_images", dict(shown="tokens", target=dict(kind="codes", codes=5)),
        stack(dict(PATCHES, mask="token"), patches=dict(kind="tagging", classes=5)), images(),
    ),
    "masked_images of image tokens": (
        "masked_images", dict(shown="tokens", target=dict(kind="image_tokens", codes=5, width=4, blocks=1)),
        stack(dict(PATCHES, mask="token"), patches=dict(kind="tagging", classes=5)), images(),
    ),
    "image_to_image": (
        "image_to_image", dict(given=dict(kind="reduced")),
        stack(
            dict(kind="patches", stem=dict(kind="conv", stride=1, size=3, margin=1), width=8, cls=0),
            pixels=dict(kind="upsampled", factor=2, channels=1, width=4),
        ),
        images(),
    ),
    "image_to_image of pairs": (
        "image_to_image", dict(distance="squared", over="target"),
        stack(PATCHES, pixels=dict(kind="pixels", stride=2, channels=1)),
        {**images(), "target/images": images()["images"] ** 2},
    ),
    "masked_images of videos": (
        "masked_images", dict(mask=dict(kind="tube", rate=0.5), target=dict(kind="pixels", scale="channel")),
        dict(
            AUTOENCODER, embed=dict(kind="tubelets", tubelet=(2, 2, 2), width=8, cls=0, position=SINES), decoder=dict(
                AUTOENCODER["decoder"], embed=dict(kind="latents", patch=(2, 2, 2), width=8, position=SINES),
                heads=dict(patches=dict(kind="values", width=8)),
            ),
        ),
        {"video": np.random.default_rng(0).normal(size=(B, 4, 4, 4, 1)).astype(np.float32)},
    ),
    "similarity": ("similarity", dict(among=4), TOWERS, pictured(B)),
    "similarity by sigmoids": ("similarity", dict(form="sigmoid", among=4), dict(TOWERS, bias=-2.0), pictured(B)),
    "retrieval of three": ("retrieval", dict(form=dict(kind="triplet"), texts=3), VECTOR, several(B, 3)),
}  # fmt: skip


def test_every_objective_has_an_example():
    assert {kind for kind, *_ in EXAMPLES.values()} == set(OBJECTIVES)


@functools.cache
def example(name):
    """(objective, parameters, batch), which tests share: they only read them."""
    kind, fields, network, batch = EXAMPLES[name]
    one = build_objective(dict(model=network, objective=dict(kind=kind, **fields)), VOCABULARY)
    return one, noise(shapes(one, batch)[0], seed=1), batch


@functools.cache
def extra_of(name):
    """What the objective of an example keeps beside its parameters, with random numbers."""
    one, _, batch = example(name)
    return noise(shapes(one.init, batch)[1], seed=3)


def filled(batch, rows, number=0.0):
    """The batch with `rows` rows of zeros after it, where numbers are floats of `number`, and weights of 1 and 0."""

    def more(x):
        empty = number if np.issubdtype(x.dtype, np.floating) else 0
        return np.concatenate([x, np.full((rows, *x.shape[1:]), empty, x.dtype)])

    weights = np.concatenate([np.ones(B), np.zeros(rows)]).astype(np.float32)
    return {"weights": weights, **{name: more(x) for name, x in batch.items()}}


@pytest.mark.parametrize("name", EXAMPLES)
def test_rows_that_fill_a_batch_count_nothing(name):
    one, params, batch = example(name)
    measure = jax.jit(lambda p, b: one.loss(p, extra_of(name), b, hashed(2), train=False)[:2])
    alone, same = measure(params, batch)
    for number in (0.0, np.nan):
        loss, metrics = measure(params, filled(batch, 3, number))
        assert metrics.keys() == same.keys() and float(alone) > 0
        for key in same:
            assert_close(metrics[key][0], same[key][0], of=f"{key}, sum")
            assert_close(metrics[key][1], same[key][1], of=f"{key}, count")
        assert_close(loss, alone)
    assert_close(total(same, one.all_terms), alone)
    unknown = measure(jax.tree.map(lambda p: np.full_like(p, np.nan), params), batch)[1]
    for term in one.all_terms:
        assert unknown[term][1] == same[term][1] > 0, "what a term counts does not depend on parameters"


def headless(network):
    """The network without heads, in its decoder or its towers too, and without streams of its layers."""
    if "towers" in network:
        return dict(network, towers={name: dict(tower, heads={}) for name, tower in network["towers"].items()})
    decoder = {"decoder": dict(network["decoder"], heads={})} if "decoder" in network else {}
    decoder |= {"beside": {}} if "beside" in network else {}
    return dict(network, heads={}, taps=(), **decoder)


UNLIKE = [name for name in EXAMPLES if " of " not in name and f"{name} in pairs" not in EXAMPLES]


@pytest.mark.parametrize("name", UNLIKE)
def test_two_microbatches_have_the_gradient_of_the_whole(name):
    """By hand: each term's sum of both parts over its count of both. Counting beforehand runs no network."""
    one, params, batch = example(name)
    keeping = optax.GradientTransformation(lambda params: params, lambda grads, state, params: (grads, grads))
    key = hashed(3)
    state = State(jnp.int32(0), params, keeping.init(params), extra_of(name), None, key)

    def share(params, part, rng, counts):
        metrics = one.loss(params, extra_of(name), part, rng)[1]
        return sum(weight * metrics[term][0] / counts[term] for term, weight in one.all_terms.items()), metrics

    halves = [jax.tree.map(lambda x, i=i: x[i::2], batch) for i in range(2)]
    keys = [jax.random.fold_in(jax.random.fold_in(key, 0), i) for i in range(2)]
    counts = dict.fromkeys(one.all_terms, jnp.float32(1))
    by_hand = jax.jit(jax.value_and_grad(share, has_aux=True)).lower(params, halves[0], keys[0], counts).compile()

    parts = [by_hand(params, *part, counts)[0][1] for part in zip(halves, keys, strict=True)]
    metrics = jax.tree.map(np.add, *jax.device_get(parts))
    counts = {term: metrics[term][1] for term in one.all_terms}
    slopes = [by_hand(params, *part, counts)[1] for part in zip(halves, keys, strict=True)]
    gradient = jax.tree.map(np.add, *jax.device_get(slopes))
    again = by_hand(params, halves[0], keys[0], counts)
    jax.tree.map(np.testing.assert_array_equal, again, by_hand(params, halves[0], keys[0], counts))
    for path, leaf in flatten(gradient).items():
        without = path.endswith(("k/bias", "head_losses/out/bias"))  # a ranking does not change by what is added to all
        assert np.isfinite(leaf).all() and (np.any(leaf) or without), f"{path} has no gradient"
    step = make_step(one, keeping, accumulate=2).lower(state, batch).compile()
    after, got = step(jax.tree.map(jnp.array, state), batch)
    assert_close(after.opt_state, gradient)
    for term in one.all_terms:
        assert_close(got[term], metrics[term], of=term)
    assert 0 < products(step) <= products(by_hand)


@pytest.mark.parametrize("name", UNLIKE)
def test_a_head_or_an_array_that_is_not_there_is_named(name):
    kind, fields, network, batch = EXAMPLES[name]
    config = dict(objective=dict(kind=kind, **fields))

    def traced(network, batch):
        one = build_objective(dict(config, model=network), VOCABULARY)
        params, extra = jax.eval_shape(one.init, jax.random.key(1), batch)
        jax.eval_shape(lambda p, b: one.loss(p, extra, b, jax.random.key(2))[0], params, batch)

    no_head = "needs (a network with|an embedding of kind .* and)? ?a head '"
    with pytest.raises(XfmError, match=f"{no_head}|puts out no layer"):
        traced(headless(network), batch)
    for array in {"labels", "weights"} & batch.keys():
        with pytest.raises(XfmError, match=f"needs data with '{array}'|needs a score for each pair"):
            traced(network, {name: x for name, x in batch.items() if name != array})


def products(program) -> int:
    return program.as_text().count(" dot(")


@pytest.mark.parametrize("weights", [(1, 0, 1, 1, 0, 1), (0, 0, 1, 0, 0, 0)])
def test_pairs_are_made_of_real_rows(weights):
    """Wherever the filling lies: the stranger of a row is the real row before it, the last one's before the first."""
    from xfm.objectives.next_sentence import strangers

    tokens, weights = jnp.broadcast_to(jnp.arange(B)[:, None], (B, T)), np.array(weights, np.float32)
    real, seen = np.flatnonzero(weights), set()
    for seed in range(8):
        out, swap = map(np.asarray, strangers(tokens, 6, jax.random.key(seed), weights))
        assert len(real) > 1 or not swap.any()
        for i, row in enumerate(real):
            assert (out[row, :6] == row).all()
            assert (out[row, 6:] == (real[i - 1] if swap[row] else row)).all()
            seen.add((row, bool(swap[row])))
    assert len(seen) == (8 if len(real) > 1 else 1)
