"""Parts of videos: mixers along an axis, and positions of other grids. Takes three seconds."""

import jax
import numpy as np
import pytest

from tests.close import assert_close
from tests.drawn import drawn, run
from xfm.context import Context
from xfm.errors import XfmError
from xfm.parts import SLOTS
from xfm.spec import SpecError, build

GRID = (3, 2, 4)
ATTENTION = dict(kind="attention", heads=2)
X = np.random.default_rng(0).standard_normal((2, 1 + 24, 16), np.float32)


@pytest.mark.parametrize("axis,out", [("space", "none"), ("time", "linear")])
def test_along_equals_a_loop_over_frames_or_places(axis, out):
    """With a class token, which each frame has a copy of, and which takes no part over time."""
    mixer = build(SLOTS["mixer"], {"kind": "along", "mixer": ATTENTION, "axis": axis, "out": out})
    params = drawn(mixer, X, Context(grid=GRID))
    y, _ = run(mixer, params, X, Context(grid=GRID))
    inner = build(SLOTS["mixer"], ATTENTION)

    def attended(rows):
        return np.asarray(run(inner, {"params": params["params"]["mixer"]}, rows, Context())[0])

    cls, grid, expected = X[:, :1], X[:, 1:].reshape(2, 3, 8, 16), np.zeros_like(X)
    if axis == "space":
        frames = [attended(np.concatenate([cls, grid[:, t]], axis=1)) for t in range(3)]
        expected[:, 0] = np.mean([frame[:, 0] for frame in frames], axis=0)
        expected[:, 1:] = np.stack([frame[:, 1:] for frame in frames], axis=1).reshape(2, 24, 16)
    else:
        linear = params["params"]["out"]
        places = [attended(grid[:, :, i]) @ linear["kernel"] + linear["bias"] for i in range(8)]
        expected[:, 1:] = np.stack(places, axis=2).reshape(2, 24, 16)
    assert_close(y, expected)


def test_along_says_what_it_needs():
    mixer = build(SLOTS["mixer"], dict(kind="along", mixer=ATTENTION, axis="time"))
    with pytest.raises(SpecError, match=r"needs the tokens of a grid of time, rows and columns; the grid is \(5, 5\)"):
        jax.eval_shape(mixer.init, jax.random.key(0), X, Context(grid=(5, 5)))
    mixer = build(SLOTS["mixer"], dict(kind="along", mixer=dict(ATTENTION, memory="text"), axis="time"))
    with pytest.raises(SpecError, match="with memory='text' reads others; make it an entry of the pattern"):
        jax.eval_shape(mixer.init, jax.random.key(0), X, Context(grid=GRID))


def test_frames_are_means_after_class_tokens():
    """With positions of their own; a class token of the finer grid is left out."""
    part = build(SLOTS["down"], dict(kind="frames", cls=2, position=dict(kind="learned", length=5)))
    params = drawn(part, X, Context(grid=GRID))
    y, ctx = run(part, params, X, Context(grid=GRID))
    p = params["params"]
    cls = np.broadcast_to(p["cls"], (2, 2, 16))
    means = X[:, 1:].reshape(2, 3, 8, 16).mean(2)
    assert_close(y, np.concatenate([cls, means], axis=1) + np.asarray(p["position"]["table"]))
    assert ctx.grid == (3, 1)


def added(spec, grid, params):
    part, x = build(SLOTS["position"], spec), np.zeros((1, 1 + int(np.prod(grid)), 4), np.float32)
    y = part.apply({"params": params}, x, Context(grid=grid), method="add")[0]
    return np.asarray(y[:1]), np.asarray(y[1:]).reshape(*grid, 4)


def test_positions_of_a_video_are_resized_axis_by_axis():
    """What is linear in each axis stays so between the outermost samples."""
    t, h, w = np.meshgrid(np.arange(2), np.arange(3), np.arange(4), indexing="ij")
    table = np.stack([t, h, w, t * 0 + 7], axis=-1).astype(np.float32)
    params = dict(table=np.concatenate([np.full((1, 4), 5, np.float32), table.reshape(-1, 4)]))
    own, cells = added(dict(kind="learned_video", size=(2, 3, 4), resize="bilinear"), (4, 6, 8), params)
    assert (own == 5).all()
    for axis, (few, many) in enumerate(((2, 4), (3, 6), (4, 8))):
        at = np.clip((np.arange(many) + 0.5) / 2 - 0.5, 0, few - 1)
        along = np.moveaxis(cells[..., axis], axis, 0).reshape(many, -1)
        assert_close(along, np.broadcast_to(at[:, None], along.shape))
    assert_close(cells[..., 3], np.full((4, 6, 8), 7.0))
    with pytest.raises(XfmError, match=r"needs 1 tokens and those of a grid \(t, h, w\); the grid is \(3, 4\)"):
        added(dict(kind="learned_video", size=(2, 3, 4)), (3, 4), params)


def test_the_nearest_vectors_of_space_and_time_are_added():
    rng = np.random.default_rng(1)
    space, time = (rng.standard_normal((n, 4), np.float32) for n in (1 + 6, 2))
    own, cells = added(dict(kind="space_time", size=(2, 3), time=2), (4, 2, 6), dict(space=space, time=time))
    assert_close(own, space[:1])
    for t, h, w in np.ndindex(4, 2, 6):
        assert_close(cells[t, h, w], space[1 + 3 * h + w // 2] + time[t // 2])
    with pytest.raises(
        XfmError, match=r"'space_time' needs 1 tokens and those of a grid \(t, h, w\); the grid is \(3, 4"
    ):
        added(dict(kind="space_time", size=(2, 3), time=2), (3, 4), dict(space=space, time=time))
