"""Checkpoints: exact, proven, and found again when the newest is damaged."""

import dataclasses
import logging
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xfm.errors import XfmError
from xfm.paths import flatten, map_by_path
from xfm.sharding import first_replica, make_mesh
from xfm.train.checkpoint import Checkpoints, _not_orbax
from xfm.train.proof import checksums, sealed, unsealed
from xfm.train.state import State


def state_of(step, rows=4, seed=0):
    key = jax.random.key(seed + step)
    params = {"embed": {"embedding": jax.random.normal(key, (rows, 3))}, "bias": jnp.zeros(3)}
    params["wide"] = {"kernel": jax.random.normal(key, (64, 32))}  # too large to lie in an index node
    opt_state = ({"mu": params, "count": jnp.int32(step)}, ())
    half = jnp.arange(5, dtype=jnp.bfloat16) * step
    extra = {"flag": jnp.array([True, False]), "half": half, "key": jax.random.key(9)}
    return State(jnp.int32(step), params, opt_state, extra, None, key)


def shapes_of(state):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)


def assert_equal(a, b):
    for (path, x), y in zip(flatten(a).items(), jax.tree.leaves(b), strict=True):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y, err_msg=path)


@pytest.fixture
def said():
    return []


@pytest.fixture
def saved(tmp_path, said):
    """Steps 10 and 20 in a workdir, closed."""
    checkpoints = Checkpoints(tmp_path, say=said.append)
    for step in (10, 20):
        checkpoints.save(state_of(step), {"note": step})
    checkpoints.wait()
    checkpoints.close()
    return tmp_path


def restored(workdir, said, like=None, mode="write"):
    checkpoints = Checkpoints(workdir, mode=mode, say=said.append)
    try:
        return checkpoints.restore(shapes_of(like or state_of(0)))
    finally:
        checkpoints.close()


@pytest.mark.parametrize("mode", ["write", "read"])
def test_exact_to_the_bit(saved, said, mode):
    state, notes = restored(saved, said, mode=mode)
    assert_equal(state, state_of(20))
    assert notes == {"note": 20} and not said


@pytest.mark.skipif(jax.device_count() != 8, reason="needs eight (fake) devices")
def test_a_sharded_state_is_written_from_few_devices_and_may_be_donated(tmp_path, said):
    mesh, like = make_mesh(dict(data=4, model=2)), state_of(0)
    cut = {"params/wide/kernel": ("model",), "opt_state/0/mu/wide/kernel": (None, ("data", "model"))}
    placed = map_by_path(lambda path, _: jax.NamedSharding(mesh, jax.P(*cut.get(path, ()))), like)
    state = jax.device_put(state_of(20), placed)
    few = {path: len(first_replica(x).sharding.device_set) for path, x in flatten(state).items()}
    assert few == dict.fromkeys(few, 1) | dict(zip(cut, (2, 8), strict=True))
    checkpoints = Checkpoints(tmp_path, say=said.append)
    checkpoints.save(state, {})
    assert jax.tree.map(lambda x: x.sharding, state) == placed
    jax.block_until_ready(jax.jit(lambda x: jax.tree.map(jnp.zeros_like, x), donate_argnums=0)(state))
    checkpoints.wait()
    checkpoints.close()
    assert_equal(restored(tmp_path, said)[0], state_of(20))


def test_nothing_saved_is_none(tmp_path, said):
    assert restored(tmp_path, said) is None


def test_keeps_the_newest(tmp_path, said):
    checkpoints = Checkpoints(tmp_path, keep=2, say=said.append)
    for step in (1, 2, 3, 4):
        checkpoints.save(state_of(step), {})
        checkpoints.check()
    checkpoints.wait()
    assert checkpoints.steps() == [3, 4]
    checkpoints.close()


def failing(*_, **__):
    raise RuntimeError("the folder is gone\nand more")


def test_a_failure_at_the_end_is_one_sentence(tmp_path, said, monkeypatch):
    for name in ("close", "wait_until_finished"):
        checkpoints = Checkpoints(tmp_path, say=said.append)
        checkpoints.save(state_of(10 + len(name)), {})
        checkpoints.wait()
        with monkeypatch.context() as patched:
            patched.setattr(checkpoints._manager, name, failing)
            with pytest.raises(XfmError, match="the checkpoints could not be saved in .*: the folder is gone; step ."):
                checkpoints.close() if name == "close" else checkpoints.wait()
            checkpoints.close()  # says no more
        assert _not_orbax in logging.getLogger("absl").filters  # its threads may still have something to log
        checkpoints.close()


def files_of(step):
    return sorted(path for path in step.rglob("*") if path.is_file())


def flip(path):
    data = bytearray(path.read_bytes())
    if data:
        data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


COMMIT = Path("checkpoints/20/commit_success.txt")
DAMAGE = {
    "flipped": flip,
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "deleted": lambda path: path.unlink(),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_any_damage_restores_right_numbers_or_the_step_before(kind, saved, said, tmp_path_factory):
    """Each file of the newest step in turn: never a wrong number, never a traceback, never a loss
    of both.
    """
    names = [path.relative_to(saved) for path in files_of(saved / "checkpoints/20")]
    assert COMMIT in names
    back = 0
    for name in names:
        workdir = tmp_path_factory.mktemp("damaged") / "run"
        shutil.copytree(saved, workdir)
        DAMAGE[kind](workdir / name)
        said.clear()
        state, notes = restored(workdir, said)
        step = int(state.step)
        assert step in (10, 20), name
        assert_equal(state, state_of(step))
        assert notes == {"note": step}
        if step == 10 and name == COMMIT and kind == "deleted":
            assert "checkpoint of step 20" in said[0] and f"has no {COMMIT.name}" in said[0]
            assert "step 10 is the newest that has one" in said[0] and len(said) == 1
        elif step == 10:
            assert "checkpoint of step 20" in said[0] and "damaged" in said[0]
            assert "going back to the checkpoint of step 10" in said[1]
        back += step == 10
    assert back >= 4  # the array data, the manifests and the proof are among the files


def test_a_flipped_bit_in_the_numbers_is_always_noticed(saved, said):
    """Orbax alone gives such numbers back without a word."""
    data = max(files_of(saved / "checkpoints/20/state"), key=lambda path: path.stat().st_size)
    whole = data.read_bytes()
    noticed = 0
    for place in np.linspace(100, len(whole) - 100, 8).astype(int):
        data.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        said.clear()
        state, _ = restored(saved, said)
        assert_equal(state, state_of(int(state.step)))
        noticed += bool(said) and "the checksum of" in said[0]
    assert noticed >= 4


def test_every_step_damaged_is_one_sentence(saved, said):
    for path in files_of(saved / "checkpoints"):
        if path.parent.name == "d" or path.name == "metadata":
            path.write_bytes(b"x")
    with pytest.raises(XfmError, match=r"no checkpoint in .* can be read \(step 20: .*step 10: "):
        restored(saved, said)


def test_weights_come_from_the_step_before_too(saved, said, capsys):
    """It is said by default on standard error, since standard output may be a file of vectors."""
    for path in files_of(saved / "checkpoints/20/state"):
        path.write_bytes(b"x")
    for say in (said.append, None):
        checkpoints = Checkpoints(saved, mode="read", say=say)
        step, weights, notes = checkpoints.newest()
        checkpoints.close()
        assert step == 10 and notes == {"note": 10}
        assert_equal(weights, list(flatten(state_of(10).params).values()))
    assert "the checkpoint of step 20" in said[0] and "is damaged" in said[0]
    assert said[1:] == ["going back to the checkpoint of step 10, which is whole"]
    out, err = capsys.readouterr()
    assert not out and err.splitlines() == said


def test_damaged_steps_are_set_aside_and_written_again(saved, said):
    for path in files_of(saved / "checkpoints/20/state"):
        path.write_bytes(b"x")
    checkpoints = Checkpoints(saved, say=said.append)
    state, _ = checkpoints.restore(shapes_of(state_of(0)))
    checkpoints.set_aside_after(int(state.step))
    assert checkpoints.steps() == [10] and (saved / "damaged/20/state").is_dir()
    checkpoints.save(state_of(20), {})
    checkpoints.wait()
    assert checkpoints.steps() == [10, 20]
    assert_equal(checkpoints.restore(shapes_of(state_of(0)))[0], state_of(20))
    checkpoints.close()


def test_another_model_is_named_and_not_called_damage(saved, said):
    with pytest.raises(XfmError) as error:
        restored(saved, said, like=state_of(0, rows=7))
    assert "step 20" in str(error.value) and "does not fit this model" in str(error.value)
    assert "params/embed/embedding is float32[4, 3] there and float32[7, 3] here" in str(error.value)
    other = state_of(0).replace(ema={"embed": jnp.zeros(2)})
    with pytest.raises(XfmError, match=r"ema/embed is absent there and float32\[2\] here"):
        restored(saved, said, like=other)
    half = state_of(0).replace(params=jax.tree.map(lambda x: x.astype("bfloat16"), state_of(0).params))
    with pytest.raises(XfmError, match=r"params/bias is float32\[3\] there and bfloat16\[3\] here"):
        restored(saved, said, like=half)


def test_proof_is_sealed():
    data = sealed({"a": [1, 2.5], "b": None})
    assert unsealed(data) == {"a": [1, 2.5], "b": None}
    data["content"]["a"][0] = 2
    with pytest.raises(ValueError, match="checksum"):
        unsealed(data)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32", "uint8", "bool"])
def test_checksum_notices_every_single_change(dtype):
    x = (jnp.arange(24).reshape(2, 3, 4) % 2).astype(dtype)
    sums = {checksums({"x": x})["x"]}
    for i in np.ndindex(x.shape):
        sums.add(checksums({"x": x.at[i].set((1 - x[i].astype(jnp.int32)).astype(dtype))})["x"])
    assert len(sums) == 25
    assert checksums({"x": x.at[0, 0].set(x[0, 0][::-1])})["x"] not in {checksums({"x": x})["x"]}
    assert checksums({"x": -jnp.zeros(3)}) != checksums({"x": jnp.zeros(3)})


@pytest.mark.skipif(jax.device_count() != 8, reason="needs eight (fake) devices")
def test_checksum_does_not_depend_on_sharding():
    mesh = make_mesh(dict(data=4, model=2))
    x = jax.random.normal(jax.random.key(0), (8, 6))
    sums = set()
    for spec in ((), ("data",), (None, "model"), ("data", "model")):
        sharding = jax.NamedSharding(mesh, jax.P(*spec))
        sums.add(checksums({"x": jax.device_put(x, sharding)})["x"])
    assert len(sums) == 1


@pytest.mark.skipif(jax.device_count() != 8, reason="needs eight (fake) devices")
def test_restores_onto_another_sharding(saved, said):
    mesh = make_mesh(dict(data=4, model=2))
    like = shapes_of(state_of(0))
    cut = jax.NamedSharding(mesh, jax.P("data"))
    whole = jax.NamedSharding(mesh, jax.P())
    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=cut if x.shape == (4, 3) else whole),
        like,
    )
    checkpoints = Checkpoints(saved, say=said.append)
    state, _ = checkpoints.restore(like)
    checkpoints.close()
    assert state.params["embed"]["embedding"].sharding == cut
    assert_equal(state, state_of(20))


@pytest.mark.skipif(jax.device_count() != 8, reason="needs eight (fake) devices")
def test_a_state_on_all_devices_comes_back_and_only_large_arrays_are_written_in_slices(tmp_path, said, monkeypatch):
    """Each slice of each device is a program to compile, which a small array is not worth."""
    sliced, slice_in_dim = [], jax.lax.slice_in_dim
    monkeypatch.setattr(jax.lax, "slice_in_dim", lambda x, *a, **k: sliced.append(x.shape) or slice_in_dim(x, *a, **k))
    large = np.arange(2**18 + 8, dtype=np.float32)  # a little more than 1 MiB
    params = {"small": large[:64].reshape(8, 8), "large": large}
    state = dataclasses.replace(state_of(10), params=params, opt_state=())
    state = jax.device_put(state, jax.NamedSharding(make_mesh(dict(data=8)), jax.P()))
    checkpoints = Checkpoints(tmp_path, say=said.append)
    checkpoints.save(state, {})
    checkpoints.wait()
    found, _ = checkpoints.restore(shapes_of(state))
    checkpoints.close()
    assert set(sliced) == {large.shape} and not said
    assert_equal(found, state)
    assert found.params["small"].sharding == state.params["small"].sharding
