"""Feed-forward parts that sow: with a kind "tests.objectives.routed:NAME" they stand in any network."""

import flax.linen as nn
import jax

from xfm.sown import per_row, per_token


def penalty(chances):
    """Of each token, how far its two experts' probabilities are apart, squared."""
    return (chances[..., 0] - chances[..., 1]) ** 2


class Routed(nn.Module):
    """Two experts, of which each token takes the sum by its router's probabilities, which are also a loss and a probe.

    The output does not give the router a gradient, so that all of that comes from the loss.
    """

    @nn.compact
    def __call__(self, x, ctx, state=None):
        x = ctx.clean(x)
        chances = jax.nn.softmax(nn.Dense(2, use_bias=False, name="gate")(x))
        self.sow("losses", "router", per_token(penalty(chances), ctx))
        self.sow("intermediates", "chances", chances)
        experts = nn.DenseGeneral((2, x.shape[-1]), name="experts")(x)
        return (jax.lax.stop_gradient(chances)[..., None] * experts).sum(-2), state


class Kept(nn.Module):
    """A linear map whose norm is a loss: a number, whatever the batch."""

    @nn.compact
    def __call__(self, x, ctx, state=None):
        kernel = self.param("kernel", nn.initializers.normal(), (x.shape[-1], x.shape[-1]))
        self.sow("losses", "norm", (kernel**2).sum())
        return ctx.clean(x) @ kernel, state


class Mixed(Kept):
    """Sows the loss of `Kept` once more, for each row."""

    @nn.compact
    def __call__(self, x, ctx, state=None):
        self.sow("losses", "norm", (x**2).sum())
        self.sow("losses", "norm", per_row((x**2).sum((1, 2))))
        return x, state
