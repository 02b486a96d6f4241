"""Parts and sources that xfm does not know, put into the tables: they are described and trained as all others.

What other rooms must know of them they say themselves, or an error of one sentence asks them to.
"""

import dataclasses
from pathlib import Path

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from xfm.data import SOURCES, Data
from xfm.data.source import Arrays
from xfm.describe import describe, example_batch
from xfm.errors import XfmError
from xfm.parts import SLOTS
from xfm.spec import SpecError
from xfm.structures import STRUCTURES
from xfm.structures.tokens import check_unpadded
from xfm.train import train

T, BANDS, SIDE, D, ROWS = 6, 5, 4, 8, 24


class Waves(nn.Module):
    """One linear map of each frame of batch["frames"] [B T BANDS]."""

    width: int

    @nn.compact
    def __call__(self, batch, ctx):
        return nn.Dense(self.width, name="frame")(batch["frames"]), ctx


class Echo(nn.Module):
    """W of the token before, within segments."""

    @nn.compact
    def __call__(self, x, ctx, state=None):
        before = jnp.pad(ctx.clean(x), ((0, 0), (1, 0), (0, 0)))[:, :-1]
        return nn.Dense(x.shape[-1], name="echo")(before), state


class Alone(nn.Module):
    """A structure of which nothing is known."""


@dataclasses.dataclass(frozen=True)
class Noise:
    """Rows of noise, images or frames, of two classes."""

    array: str
    shape: tuple[int, ...]

    def row(self):
        return {self.array: (self.shape, np.float32), "labels": ((), np.int32)}

    def open(self, workdir: Path) -> Data:
        rng, labels = np.random.default_rng(0), np.arange(ROWS, dtype=np.int32) % 2
        source = Arrays({self.array: rng.standard_normal((ROWS, *self.shape), np.float32), "labels": labels})
        return Data(source, source, None, None, fingerprint="noise")


class Mute(Noise):
    row = property()  # it does not say what its rows hold


@pytest.fixture(autouse=True)
def strangers(monkeypatch):
    for table, kind, part in (
        (SLOTS["embed"], "waves", Waves),
        (SLOTS["mixer"], "echo", Echo),
        (STRUCTURES, "alone", Alone),
        (SOURCES, "noise", Noise),
        (SOURCES, "mute", Mute),
    ):
        monkeypatch.setitem(table, kind, part)


FRAMES = dict(kind="noise", array="frames", shape=(T, BANDS))
IMAGES = dict(kind="noise", array="images", shape=(SIDE, SIDE, 3))
WAVES, PATCHES = dict(kind="waves", width=D), dict(kind="patches", patch=2, width=D)


def config(data, embed, mixer="echo"):
    label = dict(kind="classification", classes=2, pool=dict(kind="mean"))
    pattern = [dict(kind=mixer), dict(kind="mlp", hidden=2 * D)]
    return dict(
        model=dict(kind="stack", embed=embed, pattern=pattern, heads={"label": label}),
        objective=dict(kind="classification", classes=2),
        optimiser=dict(kind="adamw"), schedule=dict(kind="constant", peak=0.01),
        data=data, batch=8, steps=2, eval_every=2, save_every=2,
    )  # fmt: skip


CASES = {
    "an embedding and a mixer": (FRAMES, WAVES, "echo", T),
    "an image source": (IMAGES, PATCHES, "fourier", 1 + 4),
}


@pytest.mark.parametrize("data,embed,mixer,length", CASES.values(), ids=CASES)
def test_strangers_are_described_and_trained(data, embed, mixer, length, tmp_path):
    spec = config(data, embed, mixer)
    found = {part.path: part for part in describe(spec).parts}
    assert found["embed"].kind == embed["kind"] and found["embed"].shape == (1, length, D)
    inside = BANDS * D + D if embed is WAVES else 12 * D + D + D  # a map with its bias, and the class token
    assert found["embed"].parameters == inside
    mixing = found[f"layers/{mixer}_0/part"]
    assert (mixing.kind, mixing.parameters) == (mixer, D * D + D if mixer == "echo" else 0)
    assert mixing.flops == (2 * length * D * D if mixer == "echo" else 0)  # counted by tracing
    result = train(spec, tmp_path)
    assert np.isfinite(result.valid["loss"]) and result.checkpoint is not None


def test_an_array_that_the_batch_lacks_is_named():
    with pytest.raises(XfmError, match="embed 'patches' reads 'images' of a batch, and this batch has frames, labels;"):
        describe(config(FRAMES, PATCHES))
    with pytest.raises(XfmError, match="embed 'waves' reads 'frames' of a batch, and this batch has images, labels;"):
        describe(config(IMAGES, WAVES))


def test_who_does_not_say_what_a_row_holds_is_asked_to():
    with pytest.raises(XfmError, match=r"data 'mute' does not say what a row of it holds; .* a method row\(\)"):
        describe(config(dict(FRAMES, kind="mute"), WAVES))
    with pytest.raises(XfmError, match=r"embed 'waves' does not say what a row of its batch holds; .* row\(length\)"):
        example_batch(dict(model=config(FRAMES, WAVES)["model"]))
    with pytest.raises(XfmError, match=r"structure 'alone' does not say what a row of its batch holds; .* row\(length"):
        example_batch(dict(model=dict(kind="alone")))
    del SOURCES["mute"]  # until the end of this test
    assert [kind for kind, source in SOURCES.items() if not hasattr(source, "row")] == []


def test_who_does_not_say_whether_several_texts_in_a_row_are_for_it_is_refused_them():
    for spec, name in ((WAVES, "Waves"), (dict(kind="echo"), "Echo"), (dict(kind="alone"), "Alone")):
        wanted = f"and '{spec['kind']}' does not say whether it allows that: {name} has no class attribute whole_row"
        with pytest.raises(SpecError, match=wanted):
            check_unpadded([dict(part=spec)])
