"""What parts sow reaches the loss, by name and weight, and whoever runs a network by `forward`.

That rows without weight count nothing and that microbatches have the whole batch's gradient is held by test_rows.
"""

import jax
import numpy as np
import pytest

from tests.close import assert_close
from tests.drawn import loss_of, noise, shapes
from tests.keys import key as hashed
from tests.objectives.routed import penalty
from tests.objectives.test_rows import EMBED, MLM, ROUTED, VECTOR, VOCABULARY, routed, several, stack, texts
from xfm.errors import XfmError
from xfm.objectives import build_objective
from xfm.paths import flatten

BATCH, KEY = texts(4), hashed(2)
KEPT, MIXED = ROUTED.replace("Routed", "Kept"), ROUTED.replace("Routed", "Mixed")


def objective(network, kind="masked_lm", **fields):
    return build_objective(dict(model=network, objective=dict(kind=kind, **fields)), VOCABULARY)


def started(one, batch=BATCH):
    return noise(shapes(one, batch)[0], seed=1)


def chances_of(one, params, batch):
    """The probe of the router."""
    sown = jax.jit(lambda p: one.forward("model", p, batch)[1])(params)
    return sown["intermediates"]["layers"]["routed_1"]["part"]["chances"][0]


@pytest.mark.parametrize("network", [dict(), dict(remat="full", loops=2)], ids=["layers", "loops, remat"])
def test_a_sown_loss_gives_the_router_its_gradient_and_probes_come_out(network):
    """A scan over layers, one over loops inside it, and recomputation in the backward pass lose nothing."""
    network = routed(stack(mlm=MLM), **network)
    one, silent = (objective(network, sown=dict(router=weight)) for weight in (0.5, 0.0))
    params = started(one)
    chances = chances_of(one, params, BATCH)
    loops = network.get("loops", 1)
    assert chances.shape == (2, *[loops] * (loops > 1), *BATCH["tokens"].shape, 2)

    def of(one, params):
        loss, metrics, _ = one.loss(params, {}, BATCH, KEY)
        return loss, metrics

    (loss, metrics), grads = jax.jit(jax.value_and_grad(lambda p: of(one, p), has_aux=True))(params)
    (alone, same), without = jax.jit(jax.value_and_grad(lambda p: of(silent, p), has_aux=True))(params)
    router = "layers/routed_1/part/gate/kernel"
    assert np.abs(flatten(grads)[router]).max(axis=(1, 2)).min() > 1e-5 and not flatten(without)[router].any()
    total, count = metrics["sown/router"]
    assert int(count) == BATCH["segments"].sum()
    assert_close(loss, alone + 0.5 * total / count)
    assert_close(same["sown/router"][0], total)


def test_the_layers_losses_are_added_up():
    one = objective(routed(stack(vector=VECTOR["heads"]["vector"])), "retrieval", sown=dict(router=1.0))
    batch = several(2, 2)
    params = started(one, batch)
    flat = {name: x.reshape(4, -1) for name, x in texts(2, 2).items()}
    chances = np.asarray(chances_of(one, params, flat))
    total, count = loss_of(one, params, {}, batch, KEY, train=False)[1]["sown/router"]
    means = [penalty(layer)[flat["segments"] > 0].mean() for layer in chances]
    assert_close(np.float32(total / count), np.float32(np.sum(means)))


def test_a_number_is_the_mean_of_the_microbatches():
    one = objective(dict(stack(mlm=MLM), pattern=[dict(kind=KEPT)], repeats=2), sown=dict(norm=1.0))
    params = started(one)
    loss, metrics, _ = loss_of(one, params, {}, BATCH, KEY)
    squares = (params["layers"]["kept_0"]["part"]["kernel"] ** 2).sum()
    assert_close(metrics["sown/norm"][0], squares)
    assert float(metrics["sown/norm"][1]) == 1.0
    assert_close(loss, metrics["loss"][0] / metrics["loss"][1] + squares)


def test_texts_encoded_in_pieces_sow_what_they_sow_together():
    batch = {**several(4, 2), "weights": np.float32([1, 0, 1, 1])}
    losses = []
    params = started(objective(routed(VECTOR), "retrieval", sown=dict(router=0.5)), batch)
    for chunks in (1, 4):
        one = objective(routed(VECTOR), "retrieval", sown=dict(router=0.5), chunks=chunks)
        losses.append(jax.jit(jax.value_and_grad(lambda p, one=one: one.loss(p, {}, batch, KEY)[0]))(params))
    assert_close(*(np.concatenate([np.ravel(x) for x in jax.tree.leaves(one)]) for one in losses))


MISTAKES = {
    "no weight": (routed(stack(mlm=MLM)), {}, r"sows the loss 'router', .* for it; set it, as in {'router': 0\.01}"),
    "a typo": (routed(stack(mlm=MLM)), dict(rooter=1.0), r"sows the loss 'router', .*\(did you mean 'rooter'\?\)"),
    "nobody sows": (stack(mlm=MLM), dict(router=1.0), "gives a weight for 'router', but no part .*: none"),
    "both forms": (
        dict(stack(EMBED, mlm=MLM), pattern=[dict(kind=MIXED)]), dict(norm=1.0), "'norm' is sown as a number by one"
    ),
}  # fmt: skip


@pytest.mark.parametrize("network,sown,words", MISTAKES.values(), ids=MISTAKES)
def test_names_and_weights_that_do_not_match(network, sown, words):
    one = objective(network, sown=sown)
    with pytest.raises(XfmError, match=words) as error:
        jax.eval_shape(lambda: one.loss(one.init(KEY, BATCH)[0], {}, BATCH, KEY))
    assert "\n" not in str(error.value)


def test_a_weight_is_a_number():
    with pytest.raises(XfmError, match="sown is {'router': 'much'}; it must be"):
        objective(routed(stack(mlm=MLM)), sown=dict(router="much"))
