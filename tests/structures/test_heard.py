"""Tokens that only attend, in whole networks: what cannot mask them refuses the batch."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

import xfm
from xfm.parts import SLOTS
from xfm.spec import SpecError

TOKENS = jnp.arange(8).reshape(1, 8) % 11
SOME = dict(tokens=TOKENS, segments=jnp.ones((1, 8), jnp.int32), heard=jnp.array([[1, 1, 0, 1, 1, 1, 0, 1]]))
PADDED = dict(tokens=TOKENS, segments=jnp.array([[1] * 6 + [0] * 2]))
EMBED, ATTENTION, MLP = (
    dict(kind="tokens", vocab=11, width=16),
    dict(kind="attention", heads=2),
    dict(kind="mlp", hidden=8),
)
STACK = dict(kind="stack", embed=EMBED, pattern=[ATTENTION, MLP])
ROW = dict(STACK, kind="hourglass", cut="row", rate=2)
CANNOT = "mixes tokens without attention and cannot mask those that only attend (batch['heard'], or the padding of an"


class Silent(nn.Module):
    """A mixer that says nothing of tokens that only attend."""

    def __call__(self, x, ctx, state=None):
        return x, None


def run(spec, batch):
    return jax.eval_shape(lambda: xfm.build(spec).init_with_output(jax.random.key(0), batch)[0])


@pytest.mark.parametrize(
    "spec,batch,message",
    [
        (dict(STACK, pattern=[dict(kind="fourier")]), SOME, f"part 'fourier' {CANNOT}"),
        (dict(STACK, pattern=[dict(part=[MLP, dict(kind="fourier")])]), SOME, f"part 'fourier' {CANNOT}"),
        (
            dict(STACK, pattern=[dict(kind="silent")]),
            SOME,
            "part 'silent' does not say whether it can mask tokens that",
        ),
        (dict(STACK, embed=dict(kind="bytes", width=16, ngrams=(2,))), SOME, f"embed 'bytes' with ngrams {CANNOT}"),
        (
            dict(STACK, epilogue=[dict(part=MLP, residual=dict(kind="convolved", width=3))]),
            SOME,
            f"'convolved' {CANNOT}",
        ),
        (dict(STACK, kind="funnel", blocks=[1, 1]), SOME, f"structure 'funnel' {CANNOT}"),
        (dict(kind="pyramid", embed=EMBED, stages=[dict(pattern=[MLP])]), SOME, f"structure 'pyramid' {CANNOT}"),
        (dict(STACK, kind="nested", inner=[MLP], words=2, width=16), SOME, f"structure 'nested' {CANNOT}"),
        (dict(STACK, kind="hourglass"), SOME, f"structure 'hourglass' {CANNOT}"),
        (ROW, SOME, f"structure 'hourglass' {CANNOT}"),
        (dict(ROW, pattern=[dict(kind="fourier")]), PADDED, f"part 'fourier' {CANNOT}"),
    ],
)
def test_what_cannot_hide_a_token_says_so(spec, batch, message, monkeypatch):
    monkeypatch.setitem(SLOTS["mixer"], "silent", Silent)
    with pytest.raises(SpecError, match=re.escape(message)):
        run(spec, batch)


def test_what_can_takes_the_batch():
    for spec, batch in ((STACK, SOME), (ROW, PADDED), (dict(STACK, pattern=[dict(part=[ATTENTION, MLP])]), SOME)):
        assert run(spec, batch)["hidden"].shape == (1, 8, 16)
