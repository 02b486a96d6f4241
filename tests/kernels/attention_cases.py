"""The cases and forms of the attention suite: what is attended to how, and by which implementation.

A form is an implementation under circumstances of its own (a platform that is interpreted, thresholds that make small
rows count as long). Where it refuses an argument of a case, by name and for one of the reasons listed with it, the case
is skipped with those words; any other refusal fails.

Arrays are made by NumPy, for which nothing is compiled, and have two heads where grouping does not ask for more: the
interpreted kernels are unrolled over heads.
"""

import contextlib
import dataclasses
import functools
import importlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.kernels import rolls
from xfm.kernels.attention import (
    Buckets,
    Dense,
    Dropout,
    GridDecay,
    GridTable,
    Mask,
    Pattern,
    Relative,
    Sigmoid,
    Slopes,
    Softmax,
    attention,
    values_and_lse,
)
from xfm.kernels.platform import interpreting

rolls.register()

DEFAULTS = dict(segments=None, mask=Mask.full(), bias=None, scale=None, softmax="softmax", dropout=None)


def put(a, dtype=None) -> jax.Array:
    """An array of NumPy on the device. `jnp.asarray` would compile a program for each shape."""
    return jax.device_put(np.asarray(a, dtype))


def with_lse(q, k, v, implementation=None, **given):
    """Values, and the log-sum-exp of which sinks are made, and by which pieces of the keys are joined."""
    return values_and_lse(q, k, v, implementation=implementation, **DEFAULTS | given)


xla_module = importlib.import_module("xfm.kernels.attention.xla")


@contextlib.contextmanager
def long_rows():
    """Rows of a few tokens are walked head by head in chunks, as rows of thousands are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xla_module, "SHORT", 4)
        patch.setattr(xla_module, "CHUNK", 16)
        yield


@dataclasses.dataclass(frozen=True)
class Form:
    """implementation: its name.  within: what it is traced in.  may_refuse: words that a refusal may have.

    leaves: beginnings of the names of cases that another form of the same code answers for.  everyday: beginnings of
    those that the default tests run, the others being slow; all, if empty.
    """

    implementation: str
    within: Callable = contextlib.nullcontext
    may_refuse: tuple[str, ...] = ()
    leaves: tuple[str, ...] = ()
    everyday: tuple[str, ...] = ()

    def daily(self, case: str) -> bool:
        return not self.everyday or case.startswith(self.everyday)

    def honoured(self, call: Callable):
        """call() within, or a visible skip in the words of a refusal that may be."""
        try:
            with self.within():
                return call()
        except NotImplementedError as refusal:
            if any(reason in str(refusal) for reason in self.may_refuse):
                pytest.skip(str(refusal))
            raise

    def results(self, case: "Case", dtype=jnp.float32):
        """`values_and_gradients` by this form, compiled once for each case and dtype, or a visible skip."""
        return self.honoured(lambda: _compiled(self, case, dtype)(*inputs(case, dtype)))


@functools.cache
def _compiled(form: Form, case: "Case", dtype):
    """For one form alone: what it is traced in is no argument."""
    return program(case, form.implementation)


# The two forms of xla share the arithmetic of a block and differ in how they come to blocks: rules of masks, biases and
# softmaxes are met by one of the two, what bears on lengths, heads and gradients through the walks by both.
FORMS = {
    "xla": Form("xla", leaves=("mask: ", "few", "bias in a window", "softmax with")),
    "xla_long": Form(
        "xla", long_rows, leaves=("softmax: ", "head width", "unpacked", "length: 1", "length: 7", "cross")
    ),
    "tpu": Form(
        "tpu",
        functools.partial(interpreting, "tpu"),
        may_refuse=("mask.pattern.at",),
        everyday=(
            "mask: all at once",
            "bias: grid decay",
            "softmax with relative",
            "softmax with grid table",
            "softmax: sigmoid",
            "length: 1",
            "length: 197",
            "head width: 80",
            "grouped",
            "cross",
            "dropout",
            "windows of Swin",
            "mixed",
        ),
    ),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """Sizes, and functions of them that make the descriptions; those of `bias` and `softmax` get gradients."""

    B: int = 2
    T: int = 37
    S: int | None = None
    N: int = 2
    K: int = 2
    H: int = 16
    segments: str = "packed"
    mask: Callable = lambda B, T, S, N: Mask.full()
    bias: Callable = lambda B, T, S, N: None
    softmax: Callable | str = "softmax"
    drop: float = 0.0

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        return self.B, self.T, self.S or self.T, self.N

    def arguments(self) -> dict:
        """All but q, k, v, bias and softmax."""
        B, T, S, _ = self.sizes
        one = put(np.ones((B, T), np.int32))
        segments = dict(none=None, packed=packed(B, T), one=one)
        if T != S:
            segments["packed"] = (one, put(np.minimum(packed(B, S), 1)))
        dropout = Dropout(self.drop, put(np.uint32(0x9B8E2D47))) if self.drop else None
        return dict(segments=segments[self.segments], mask=self.mask(*self.sizes), dropout=dropout)

    def extra(self) -> tuple:
        """The bias and the softmax."""
        return self.bias(*self.sizes), self.softmax if isinstance(self.softmax, str) else self.softmax(self.N)

    def arrays(self, dtype=jnp.float32, seed=0):
        B, T, S, N = self.sizes
        rng = np.random.default_rng(seed)
        shapes = ((B, T, N, self.H), (B, S, self.K, self.H), (B, S, self.K, self.H))
        return tuple(put(rng.normal(size=shape), dtype) for shape in shapes)


def packed(B, T):
    """Rows of two texts and padding at the end; the later rows have padding in the middle too."""
    segments = np.ones((B, T), np.int32)
    segments[:, T // 3 :] = 2
    segments[:, T - T // 5 :] = 0
    segments[1:, T // 4] = 0 if T > 1 else 1
    return put(segments)


def inputs(case, dtype=jnp.float32, exact=False) -> tuple:
    """What `program` is given: q, k and v, the numbers that are learned, the arguments, weights of y and of lse.

    exact: the arrays of that dtype, widened.
    """
    arrays, (leaves, _, learned) = case.arrays(dtype), _described(case)
    if exact:
        arrays = tuple(put(a, np.float32) for a in arrays)
    rng, wide = np.random.default_rng(9), jnp.promote_types(arrays[0].dtype, jnp.float32)
    weights = tuple(put(rng.normal(size=arrays[0].shape[:n]), wide) for n in (4, 3))
    return arrays, [leaves[i] for i in learned], case.arguments(), weights


def _described(case):
    """The leaves and the tree of bias and softmax, and which leaves are floating arrays."""
    bias, softmax = case.extra()
    leaves, tree = jax.tree.flatten((bias, None if isinstance(softmax, str) else softmax))
    learned = [i for i, a in enumerate(leaves) if isinstance(a, jax.Array) and jnp.issubdtype(a.dtype, jnp.floating)]
    return leaves, tree, learned


def program(case, implementation):
    """A jitted function of `inputs`: y, lse with where it is -inf, and the gradients of a weighted sum of both in all
    floating arrays.  Numbers and integers of a description are constants."""
    leaves, tree, learned = _described(case)
    softmax = case.extra()[1]
    summed = not isinstance(softmax, Sigmoid) and softmax != "sigmoid"

    def loss(arrays, numbers, arguments, weights):
        found = dict(zip(learned, numbers, strict=True))
        bias, described = jax.tree.unflatten(tree, [found.get(i, a) for i, a in enumerate(leaves)])
        given = dict(arguments, bias=bias, softmax=softmax if isinstance(softmax, str) else described)
        of_y, of_lse = weights
        if not summed:
            y = attention(*arrays, implementation=implementation, **given)
            return (y.astype(of_y.dtype) * of_y).sum(), (y,)
        y, lse = with_lse(*arrays, implementation=implementation, **given)
        nothing = jnp.isneginf(lse)
        lse = jnp.where(nothing, 0, lse)
        return (y.astype(of_y.dtype) * of_y).sum() + (lse * of_lse).sum(), (y, lse, nothing.astype(of_y.dtype))

    differentiated = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)

    @jax.jit
    def run(*given):
        (_, outputs), gradients = differentiated(*given)
        return outputs, gradients

    return run


def values_and_gradients(case, implementation, dtype=jnp.float32, exact=False):
    """The results of `program` for `inputs`."""
    return program(case, implementation)(*inputs(case, dtype, exact))


@functools.cache
def defined(case):
    """The definition's program, which takes inputs of any dtype after they were widened."""
    return program(case, "naive")


@functools.cache
def expected(case, dtype=jnp.float32):
    """By the definition, in float32, for all forms; `case` is one of the table: they are compared by identity."""
    return defined(case)(*inputs(case, dtype, exact=True))


def drawn(*shape, seed=1, by=1):
    """Of deviation 1 / by; float64 if that is on."""
    return put(np.random.default_rng(seed).standard_normal(shape, np.float32) / np.float32(by), float)


def per_head(N, *numbers):
    """The first N of these."""
    return put(numbers[:N], float)


def marks(B, S):
    """A token here and there, others in each row."""
    return put((np.arange(S)[None] + 3 * np.arange(B)[:, None]) % 11 == 2)


def prefixes(B, S, first=3, more=1):
    """The first tokens of each row, `more` more in each than in the one before."""
    return put(np.arange(S)[None] < first + more * np.arange(B)[:, None])


def blocks(T, S, N, size):
    """Some blocks of keys for each block of queries, others for each head."""
    q, k = -(-T // size), -(-S // size)
    h, i, j = np.arange(N)[:, None, None], np.arange(q)[None, :, None], np.arange(k)[None, None, :]
    return Pattern(size, put((i == j) | ((i + 2 * j + h) % 3 == 0)))


def of_texts(B, T, S, size=3):
    """Neighbouring blocks of texts of 17 tokens, which begin elsewhere in each row."""
    i, j = np.arange(-(-T // size))[:, None], np.arange(-(-S // size))[None, :]
    position = (np.arange(S, dtype=np.int32)[None] + 5 * np.arange(B, dtype=np.int32)[:, None]) % 17
    return Pattern(size, put((abs(i - j) <= 1)[None]), put(position // size))


def relative(B, T, S, N, H=8, terms=("key", "query")):
    rows = put(np.clip(np.arange(1 - S, T, dtype=np.int32), -5, 5) + 5)
    tables = [drawn(11, N, H, seed=seed, by=4) if name in terms else None for seed, name in ((3, "key"), (4, "query"))]
    return Relative(drawn(B, T, N, H), drawn(B, S, N, H, seed=2), *tables, rows)


MASKS = {
    "full": lambda B, T, S, N: Mask.full(),
    "causal": lambda B, T, S, N: Mask.causal(),
    "window": lambda B, T, S, N: Mask.window(3, 5),
    "window of itself": lambda B, T, S, N: Mask.window(0, 0),
    "causal window": lambda B, T, S, N: Mask.causal() & Mask.window(6, 6),
    "wide window": lambda B, T, S, N: Mask.window(10 * S, 10 * S),
    "one side": lambda B, T, S, N: Mask(after=2),
    "prefix": lambda B, T, S, N: Mask.causal(prefixes(B, S)),
    "everyone": lambda B, T, S, N: Mask.window(2, 2, everyone=marks(B, S)),
    "everyone, few": lambda B, T, S, N: Mask(before=2, after=3, everyone=marks(B, S), most=4),
    "everyone, few, causal": lambda B, T, S, N: Mask.causal() & Mask(before=4, everyone=marks(B, S), most=5),
    "everyone, few, prefix": lambda B, T, S, N: (
        Mask.causal(prefixes(B, S)) & Mask(before=2, after=2, everyone=marks(B, S), most=4)
    ),
    "everyone as keys": lambda B, T, S, N: Mask(before=2, after=1, everyone=marks(B, S), most=4, lifts="keys"),
    "everyone as queries": lambda B, T, S, N: Mask(before=2, after=1, everyone=marks(B, S), lifts="queries"),
    "everyone as few queries": lambda B, T, S, N: Mask(
        before=2, after=1, everyone=marks(B, S), most=4, lifts="queries"
    ),
    "blocks of texts": lambda B, T, S, N: Mask(
        before=5, after=5, everyone=marks(B, S), pattern=of_texts(B, T, S), most=4
    ),
    "blocks of texts, all scores": lambda B, T, S, N: Mask(everyone=marks(B, S), pattern=of_texts(B, T, S)),
    "everyone, causal": lambda B, T, S, N: Mask.causal() & Mask.window(4, 0, everyone=marks(B, S)),
    "pattern": lambda B, T, S, N: Mask(pattern=blocks(T, S, 1, 5)),
    "pattern by head": lambda B, T, S, N: Mask(pattern=blocks(T, S, N, 4)),
    "all at once": lambda B, T, S, N: Mask("causal", 20, 20, prefixes(B, S), None, marks(B, S), blocks(T, S, N, 4)),
}
BIASES = {
    "slopes": lambda B, T, S, N: Slopes(per_head(N, 0.5, 0.25, 0.1, 0.01)),
    "buckets, two sides": lambda B, T, S, N: Buckets(drawn(8, N), reach=16, sides=2),
    "buckets, one side": lambda B, T, S, N: Buckets(drawn(8, N), reach=16, sides=1),
    "dense": lambda B, T, S, N: Dense(drawn(B, N, T, S)),
    "dense, shared": lambda B, T, S, N: Dense(drawn(1, 1, T, S)),
    "grid table": lambda B, T, S, N: GridTable(drawn(9, 13, N), (5, 7)),
    "grid table and class": lambda B, T, S, N: GridTable(drawn(7, 13, N), (4, 7), 7, drawn(3, N)),
    "grid decay": lambda B, T, S, N: GridDecay(per_head(N, 0.5, 0.25, 0.1, 0.01), (5, 7)),
    "relative": relative,
    "relative, of keys": lambda *sizes: relative(*sizes, terms=("key",)),
    "relative, of queries": lambda *sizes: relative(*sizes, terms=("query",)),
}
PER_HEAD = (0.5, 1.0, 2.0, 0.7)
SINKS = (-0.5, 0.0, 1.0, -0.3)
SOFTMAXES = {
    "temperature": lambda N: Softmax(temperature=0.7),
    "temperature by head": lambda N: Softmax(temperature=per_head(N, *PER_HEAD)),
    "cap": lambda N: Softmax(cap=1.5),
    "off by one": "off_by_one",
    "sink": lambda N: Softmax(sink=jnp.float32(1.5)),
    "sink by head": lambda N: Softmax(sink=per_head(N, *SINKS)),
    "clip": lambda N: Softmax(clip=(-0.03, 1.1)),
    "temperature, cap and sink": lambda N: Softmax(per_head(N, *PER_HEAD), 2.0, per_head(N, *SINKS)),
    "temperature, cap and clip": lambda N: Softmax(per_head(N, *PER_HEAD), 2.0, None, (-0.03, 1.1)),
    "sigmoid": "sigmoid",
    "sigmoid by head": lambda N: Sigmoid(per_head(N, *PER_HEAD), 3.0, per_head(N, -1.5, -1.0, 0.0, -1.3)),
}

CASES = {f"mask: {name}": Case(mask=mask) for name, mask in MASKS.items()}
CASES |= {f"unpacked: {name}": Case(mask=MASKS[name], segments="none") for name in ("full", "window", "causal")}
CASES |= {f"bias: {name}": Case(T=35, bias=bias) for name, bias in BIASES.items()}
CASES |= {
    f"bias in a window: {name}": Case(T=35, bias=BIASES[name], mask=MASKS["window"])
    for name in ("slopes", "buckets, two sides", "grid decay", "relative")
}
CASES |= {f"softmax: {name}": Case(1, 21, N=4, K=4, softmax=softmax) for name, softmax in SOFTMAXES.items()}
CASES |= {
    f"softmax with {name}": Case(T=35, bias=BIASES[name], softmax=SOFTMAXES["temperature, cap and sink"])
    for name in ("slopes", "dense, shared", "grid table", "relative")
}
CASES |= {
    f"length: {T}": Case(1, T, N=1, K=1, segments="one", mask=lambda B, T, S, N: Mask.window(20, 20))
    for T in (1, 7, 49, 196, 197, 257)
}
CASES |= {f"full, of length {T}": Case(1, T, N=1, K=1, segments="none") for T in (196, 197, 257, 1000)}
CASES |= {f"head width: {H}": Case(1, 9, N=2, K=2, H=H, segments="one") for H in (32, 64, 80, 96, 128, 256)}
CASES |= {
    f"grouped: {K}": Case(2, 21, N=4, K=K, mask=MASKS["causal"], softmax=SOFTMAXES["sink by head"]) for K in (1, 2)
}
CASES |= {f"cross: {T} and {S}": Case(2, T, S) for T, S in ((5, 33), (33, 5), (1, 40))}
CASES |= {
    "dropout": Case(drop=0.3, mask=MASKS["causal"]),
    "dropout, window and sink": Case(drop=0.3, mask=MASKS["window"], softmax="off_by_one"),
    "dropout and sigmoid": Case(drop=0.3, softmax="sigmoid"),
    "windows of Swin": Case(6, 49, bias=lambda B, T, S, N: GridTable(drawn(13, 13, N), (7, 7))),
    "mixed": Case(mask=MASKS["everyone"], bias=BIASES["slopes"], softmax=SOFTMAXES["sink by head"], N=4, K=2),
    "pattern and table": Case(T=35, mask=MASKS["pattern by head"], bias=BIASES["grid table"]),
}


FEW = MASKS["everyone, few"]
CASES |= {
    f"few and {name}": Case(T=35, mask=FEW, bias=BIASES[name])
    for name in ("slopes", "buckets, two sides", "dense", "grid decay", "relative")
}
CASES |= {
    "few, softmax with all": Case(mask=FEW, softmax=SOFTMAXES["temperature, cap and sink"], N=4, K=2),
    "few, sigmoid": Case(mask=FEW, softmax="sigmoid", drop=0.3),
    "few, unpacked": Case(mask=FEW, segments="none"),
    "few, later queries": Case(
        2, 21, 37, mask=lambda B, T, S, N: Mask(before=2, after=3, everyone=marks(B, S), most=4, offset=9)
    ),
}


def met():
    """Every form with every case that it meets, as pytest parameters."""
    return [
        pytest.param(form, case, id=f"{name}-{case}", marks=() if form.daily(case) else pytest.mark.slow)
        for name, form in FORMS.items()
        for case in CASES
        if not case.startswith(form.leaves or ("\0",))
    ]
