"""What every part of every slot owes: its formula, the dtype of its answer, and a gradient for each parameter.

A slot that is not in FORMULAS or INPUTS, a part without a formula and one without an example fail by their names.
"""

import importlib
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.close import assert_close
from tests.parts.cases import INPUTS, OF_IMAGES, Case, case
from tests.parts.examples import EXAMPLES, every_example
from tests.parts.formulas import FORMULAS
from tests.parts.positions import Given
from tests.parts.within import ACTIVATIONS, Elsewhere, value
from xfm.parts import SLOTS
from xfm.parts.activation import ACTIVATIONS as OURS
from xfm.parts.activation import activation
from xfm.paths import first_match, flatten
from xfm.spec import SpecError, schema

owed = pytest.mark.parametrize("slot,kind,number", every_example())
# Heads that score in float32 whatever the stream's dtype; of a beam the chances, not the score that there is no answer.
DTYPES = {
    "mlm": {"float32"},
    "enhanced_mlm": {"float32"},
    "prototypes": {"float32"},
    "instances": {"float32"},
    "span": {"float32"},
    "span_beam": {"float32", "bfloat16"},
}
# Parameters that are not trained, or on which no answer depends: what all scores of a softmax share, and the scores of
# a query with one key.
UNSEEN = (
    r"^(mixer|pool/(class_)?attention|head/latent_queries|head/enhanced_mlm|stem)/.*k(_global)?/bias$",
    r"^norm/((fixed_)?batchnorm|progressive)/(batch/)?(mean|variance|share)$|/mbconv/\w+_norm/(mean|variance)$",
    r"^head/unet_pixels/(in|out)_\d/norm/(mean|variance)$",
    r"^head/span_beam/(start|end|end_norm)/bias$",
    r"^head/latent_queries/mixer/[qk]/",
    r"^down/pooled_queries/k/bias$",
    r"^down/restored/dropped/",  # of tokens that are left out in training: tests/parts/test_sampled.py
    r"^ffn/token_boosting/deviation$",  # of noise that is added in training: tests/parts/test_token_boosting.py
)


def of(slot, kind, number) -> Case:
    assert slot in INPUTS, f"slot '{slot}' has no inputs in tests/parts/cases.py"
    assert EXAMPLES.get(slot, {}).get(kind), f"{slot} '{kind}' has no example in tests/parts/examples.py"
    return case(slot, kind, number)


@owed
def test_formula(slot, kind, number):
    one = of(slot, kind, number)
    formula = FORMULAS.get(slot, {}).get(kind)
    assert formula is not None, f"{slot} '{kind}' has no formula in tests/parts/formulas.py"
    if isinstance(formula, Elsewhere):
        file, name = formula.test.split(".py::")
        module = importlib.import_module(file.replace("/", "."))
        assert inspect.isfunction(getattr(module, name))
        source = inspect.getsource(module)
        assert f'"{kind}"' in source or f'examples("{slot}")' in source, f"{file}.py does not mention {slot} '{kind}'"
        return
    p, inputs = jax.tree.map(np.asarray, (one.params.get("params", {}), one.inputs))
    p, inputs = jax.tree.map(lambda a: a.astype(np.float64) if a.dtype == np.float32 else a, (p, inputs))
    y, ctx = one.answer[0], inputs[-1]
    if slot == "position":
        expected = value(slot, one.spec, p, Given(*inputs))
        same = dict(add=inputs[0], rotate=inputs[1:3], value=inputs[3])
        assert_close(y, same | expected)
        return
    expected = value(slot, one.spec, p, *inputs)
    possible = np.isfinite(expected)
    assert np.isfinite(y).tolist() == possible.tolist()
    if slot not in ("norm", "stem", "pool", "head") and kind not in OF_IMAGES:
        real = ctx.segments > 0
        possible &= np.pad(real, ((0, 0), (0, y.shape[1] - real.shape[1])), constant_values=True)[..., None]
    assert_close(np.where(possible, y, 0), np.where(possible, expected, 0))


@owed
def test_dtype(slot, kind, number):
    """Parameters are float32 and the answer has the dtype of the stream, an embedding's that of the context."""
    one = of(slot, kind, number)

    def half(a):
        return jnp.asarray(a, jnp.bfloat16 if a.dtype == np.float32 else None)

    inputs = jax.tree.map(half, one.inputs)
    if slot != "norm":
        inputs = (*inputs[:-1], inputs[-1].replace(dtype=jnp.dtype("bfloat16")))
    assert {a.dtype for a in jax.tree.leaves(one.params)} <= {np.dtype("float32")}
    y = jax.eval_shape(one.apply, one.params, *inputs)
    if slot == "position":
        y = {name: y[name] for name in ("add", "rotate", "value")}
    found = {a.dtype.name for a in jax.tree.leaves(y) if jnp.issubdtype(a.dtype, jnp.floating)}
    assert found == (DTYPES.get(kind, {"bfloat16"}) if slot == "head" else {"bfloat16"})


@owed
def test_gradients(slot, kind, number):
    """Finite, and not 0 for any parameter, but for those that no answer depends on."""
    one = of(slot, kind, number)

    for path, leaf in flatten(one.answer[1].get("params", {})).items():
        assert np.isfinite(leaf).all(), path
        if first_match(f"{slot}/{kind}/{path}", [(regex, True) for regex in UNSEEN]) is None:
            assert np.abs(leaf).max() > 1e-6, path


# Fields that no example sets, since a test of their own does, or since they change no arithmetic.
UNSET = (
    r"/implementation$",
    r"^[^/]*/[^/]*/[a-z_]*drop[a-z_]*$",  # of test_drops.py
    r"^embed/(bytes|hashed)/vocab$",
    r"^position/(relative_buckets|relative_patches)/heads$|/(memory|reads)$",  # of a stack, and of what it remembers
    r"^mixer/mamba2/(expand|epsilon)$|^mixer/nystrom/start$|^mixer/relative/width$",
    r"^down/frames/(cls|position)$",  # of test_video.py
    r"^down/positioned/cls$",  # of test_downs.py, since the rows there are those of a grid alone
    r"^mixer/windowed/(padding|fit)$",  # of test_windowed.py
    r"^head/(enhanced_mlm|span_beam|latent_queries)/",
)


@pytest.mark.parametrize("slot", SLOTS)
def test_every_field_is_set_by_an_example(slot):
    for kind, cls in SLOTS[slot].items():
        used = set().union(*EXAMPLES[slot][kind])
        unset = [f"{slot}/{kind}/{field}" for field in schema(cls) if field not in used]
        missing = [path for path in unset if first_match(path, [(regex, True) for regex in UNSET]) is None]
        assert not missing, f"no example in tests/parts/examples.py sets {', '.join(missing)}"


def test_activations():
    x = np.linspace(-5, 5, 101) + 0.01  # no corner of any
    assert set(ACTIVATIONS) == set(OURS)

    def both(x):
        ours = {name: activation(name) for name in ACTIVATIONS}
        return {name: (f(x), jax.vmap(jax.grad(f))(x)) for name, f in ours.items()}

    for name, (y, slope) in jax.jit(both)(jnp.asarray(x, jnp.float32)).items():
        formula = ACTIVATIONS[name]
        assert_close(y, formula(x), of=name)
        assert_close(slope, (formula(x + 1e-5) - formula(x - 1e-5)) / 2e-5, of=f"slope of {name}")
    with pytest.raises(SpecError, match="no activation 'gelo' .did you mean 'gelu'"):
        activation("gelo")
