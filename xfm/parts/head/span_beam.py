"""Where an answer starts, where it ends given each likely start, and whether there is none, by beam search.

Yang et al. 2019 (XLNet), section 3, whose code for questions with and without answers has this search.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.linear import Linear
from xfm.parts.norm import NORMS
from xfm.parts.pool import POOLS
from xfm.spec import Spec, build, freeze

NORM = freeze(dict(kind="layernorm"))
LAST = freeze(dict(kind="last"))


class SpanBeam(nn.Module):
    """The likeliest starts, the likeliest ends of each, and a score that there is no answer, as a mapping:

    start_top_log_probs, start_top_index [B n], likeliest first; end_top_log_probs, end_top_index [B m·n], first the
    likeliest end of each of the n starts, then the second of each, and so on; cls_logits [B]. Despite their names these
    are probabilities, not logarithms. No answer starts or ends in padding or where ctx.shared["barred"] [B T] is not 0.

    starts, ends: n and m, at most the number of tokens.  norm: between the two maps of the ends.
    pool: spec of the pool whose vector helps to score that there is no answer.
    """

    starts: Count = 5
    ends: Count = 5
    norm: Spec = NORM
    pool: Spec = LAST

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> dict[str, Array]:
        B, T, D = x.shape
        n, m = min(self.starts, T), min(self.ends, T)
        real = ctx.real(x)
        x = ctx.clean(x)
        if "barred" in ctx.shared:
            real &= ctx.shared["barred"] == 0

        def chances(scores):
            """Probabilities over the tokens, in float32; zeros in a row where no token is allowed."""
            able = real.reshape(B, T, *[1] * (scores.ndim - 2))
            least = jnp.finfo(jnp.float32).min
            return jnp.where(able, jax.nn.softmax(jnp.where(able, scores.astype(jnp.float32), least), axis=1), 0)

        start = chances(Linear(1, name="start")(x)[..., 0])
        start_top, start_index = jax.lax.top_k(start, n)
        begun = jnp.take_along_axis(x, start_index[..., None], axis=1)

        pairs = [jnp.broadcast_to(a, (B, T, n, D)) for a in (x[:, :, None], begun[:, None])]
        y = jnp.tanh(Linear(D, name="end_dense")(jnp.concatenate(pairs, axis=-1)))
        y = build(NORMS, self.norm, name="end_norm")(y)
        end = chances(Linear(1, name="end")(y)[..., 0])
        end_top, end_index = (a.swapaxes(1, 2).reshape(B, m * n) for a in jax.lax.top_k(end.swapaxes(1, 2), m))

        expected = jnp.einsum("btd,bt->bd", x, start.astype(x.dtype))
        last = build(POOLS, self.pool, name="pool")(x, ctx)
        y = jnp.tanh(Linear(D, name="none_dense")(jnp.concatenate([expected, last], axis=-1)))
        return dict(
            start_top_log_probs=start_top,
            start_top_index=start_index,
            end_top_log_probs=end_top,
            end_top_index=end_index,
            cls_logits=Linear(1, bias=False, name="none")(y)[..., 0],
        )
