"""Token boosting: what an autoencoder takes for corruption is removed from the tokens.

Li, Foo, Hu, Shang, Rahmani, Yuan, Liu, "Token Boosting for Robust Self-Supervised Visual Transformer Pre-training"
(2023), section 3. Tokens F = R + U consist of reliable features and unknown corruption. Noise Q of a learned size is
added, and an autoencoder g estimates F from I = F + Q. If Q is distributed as U, both contribute alike to I, so that
E[R | I] = 2 E[F | I] - I, of which 2 g(I) - I is the estimate (Moran et al. 2020, Noisier2Noise, section 3.1).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count, NotNegative
from xfm.parts.activation import activation
from xfm.parts.linear import Linear
from xfm.parts.param import param
from xfm.sown import per_token


def boosted(corrupted: Float[Array, "*any D"], estimate: Float[Array, "*any D"]) -> Float[Array, "*any D"]:
    """2 F̂ - I: the reliable features, from tokens with noise added and what these were estimated to be without it."""
    return 2 * estimate - corrupted


class TokenBoosting(nn.Module):
    """The boosted tokens, which take the place of the stream in a sublayer without norms that skips nothing.

    hidden: width of the autoencoder, two linear maps with a nonlinearity between them.  noise: the deviation with which
    the added noise starts, one learned number per channel; noise is added in training only.
    The autoencoder's squared error, the mean over channels, is sown as the loss "reconstruction".
    """

    hidden: Count
    activation: str = "gelu"
    noise: NotNegative = 0.1

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state=None):
        x = ctx.clean(x)
        deviation = param(self, "deviation", nn.initializers.constant(self.noise), (x.shape[-1],)).astype(x.dtype)
        corrupted = x
        if ctx.train:
            corrupted = x + deviation * jax.random.normal(self.make_rng("dropout"), x.shape, x.dtype)
        h = activation(self.activation)(Linear(self.hidden, name="up")(corrupted))
        estimate = Linear(x.shape[-1], name="down")(h)
        error = (estimate.astype(jnp.float32) - x.astype(jnp.float32)) ** 2
        self.sow("losses", "reconstruction", per_token(error.mean(-1), ctx))
        return boosted(corrupted, estimate), state
