"""A run that trains only what transforms add to a checkpoint: header, state, resuming, evaluation, opening, leaving."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

import xfm
from tests.close import assert_close
from tests.drawn import run
from tests.train.test_start import checkpoint, config, started
from xfm.convert import export
from xfm.convert.command import convert
from xfm.errors import XfmError
from xfm.paths import flatten
from xfm.train import evaluate, train
from xfm.train.found import carried, find
from xfm.train.record import read_record, write_record
from xfm.transforms import network, saved
from xfm.transforms.base import Transform

TRANSFORMS = [dict(kind="lora", rank=2, paths="/(q|v)$"), dict(kind="adapter_bias")]
TRAINED = ("^own/", "^head_label/")


@dataclasses.dataclass(frozen=True)
class Lasting(Transform):
    """A face around modules, so that nothing can be merged."""

    def around(self, own):
        return lambda call, args, kwargs, context: call(*args, **kwargs)


def adapted(root, **changes):
    given = dict(
        transforms=TRANSFORMS, train_only=TRAINED, optimiser=dict(kind="adamw", weight_decay=0.1),
        schedule=dict(kind="constant", peak=0.05),
    ) | changes  # fmt: skip
    return config(root, root / "hub", **given)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("transforms")
    checkpoint(root / "hub", "bert_pretraining")
    return root


@pytest.fixture(scope="module")
def trained(root):
    """(workdir, result) of three steps, with checkpoints of the second and the third."""
    return root / "run", train(adapted(root, steps=3), root / "run")


def test_only_own_parameters_and_the_head_train(root, trained):
    """The base stays the checkpoint's to the bit, and the optimiser keeps nothing for it."""
    _, result = trained
    known, state = flatten(xfm.load(root / "hub").params), result.state
    for path, x in flatten(state.params).items():
        if path in known and not path.startswith("head_label/"):
            np.testing.assert_array_equal(x, known[path], err_msg=path)
    for path in flatten(state.opt_state):
        assert path.endswith("count") or "own/" in path or "head_label/" in path, path
    own = flatten(state.params["own"])
    assert own and all(np.abs(x).max() > 0 for x in own.values())


def test_the_header_names_what_trains(root, tmp_path, capsys):
    begun, _ = started(adapted(root), tmp_path / "run")
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("training: "))
    flat = flatten(begun.like.params)
    moving = [path for path in flat if path.startswith(("own/", "head_label/"))]
    numbers = (sum(flat[path].size for path in paths) for paths in (moving, flat))
    assert line.startswith("training: {} of {} arrays, {:,} of {:,} numbers: ".format(len(moving), len(flat), *numbers))
    named = line.partition("numbers: ")[2].split(", ")
    assert set(named) == {
        "head_label/out 2", "own/layers/attention_0/part/q/lora 2", "own/layers/attention_0/part/v/lora 2",
        "own/layers/mlp_1/part/down/adapter_bias 3",
    }  # fmt: skip


def test_going_on_is_exact(root, trained, tmp_path):
    """Two steps and one more give what three steps give, to the bit, with what the evaluation says of it."""
    workdir, whole = shutil.copytree(trained[0], tmp_path / "run"), trained[1]
    shutil.rmtree(workdir / "checkpoints/3")
    more = train(adapted(root, steps=3), workdir)
    jax.tree.map(np.testing.assert_array_equal, more.state.params, whole.state.params)
    jax.tree.map(np.testing.assert_array_equal, more.state.opt_state, whole.state.opt_state)
    assert more.valid == whole.valid == evaluate(workdir).valid


def test_other_transforms_need_another_workdir(root, trained):
    other = [dict(kind="lora", rank=3), TRANSFORMS[1]]
    with pytest.raises(XfmError, match=r"was trained with another config \(transforms\[0\].rank: 2 -> 3, transforms"):
        started(adapted(root, transforms=other), trained[0])


def test_it_opens_and_leaves_merged(trained, tmp_path):
    """xfm.load and xfm convert give a plain BERT, whose logits are those of the transformed network."""
    workdir, result = trained
    m = xfm.load(workdir)
    assert m.family.model_type == "bert" and "own" not in m.params
    ids = np.array([[2, 5, 7, 9, 3]])
    logits = run(network(read_record(workdir).config), {"params": result.state.params}, m.batch(ids))["label"]
    assert_close(m(ids)["logits"], logits)
    there = xfm.load(convert(workdir, tmp_path / "out"))
    assert_close(there(ids)["logits"], logits)


def test_it_leaves_alone(root, trained, tmp_path):
    """`xfm convert RUN FILE.npz` writes what was trained, which goes onto the checkpoint's parameters again."""
    workdir, result = trained
    file = convert(workdir, tmp_path / "own.npz")
    one, params = saved.load(file, xfm.load(root / "hub").params)
    jax.tree.map(np.testing.assert_array_equal, params, dict(result.state.params))
    assert one == network(read_record(workdir).config)
    with np.load(file) as archive:
        assert all(name == "config" or name.startswith(("own/", "head_label/")) for name in archive.files)
    with pytest.raises(XfmError, match="a file .npz holds the parameters as they were trained; --dtype is for folders"):
        convert(workdir, tmp_path / "half.npz", dtype="bfloat16")
    with pytest.raises(XfmError, match="a file .npz is for what a run with transforms trained; .* is not such a run"):
        convert(root / "hub", tmp_path / "other.npz")


def test_another_run_starts_from_it(root, trained, tmp_path):
    """With the same transforms everything goes along; with none, or others, they are merged into the weights first."""
    workdir, result = trained
    same = find(str(workdir))
    assert carried(same, TRANSFORMS) is same
    plain = carried(same, [dict(kind="adapter_bias")])
    assert not any(path.startswith("own/") for path in plain.shapes())
    merged = flatten(xfm.load(workdir).params)
    for path in ("layers/attention_0/part/q/kernel", "layers/mlp_1/part/down/bias"):
        assert_close(plain.weights()[path], merged[path])
        assert np.abs(plain.weights()[path] - np.asarray(flatten(result.state.params)[path])).max() > 1e-3
    again = adapted(root)
    again.start.source = str(workdir)
    _, state = started(again, tmp_path / "second")
    jax.tree.map(np.testing.assert_array_equal, state.params["own"], result.state.params["own"])


def test_surgery_is_done_on_the_checkpoint(root, tmp_path):
    """Two of three layers, with their parameters; the run keeps the whole spec, and leaves as the short network."""
    c = adapted(root, transforms=[dict(kind="tests.transforms.test_contract:Shorter", keep=2)], train_only=())
    begun, state = started(c, tmp_path / "run")
    known, here = flatten(xfm.load(root / "hub").params), flatten(state.params)
    assert begun.config["model"]["repeats"] == 3
    for path in (path for path in here if path.startswith("layers/")):
        np.testing.assert_array_equal(here[path], known[path][:2], err_msg=path)
    assert export.match_of(begun.config).settings.content["num_hidden_layers"] == 2


def test_what_cannot_be_merged_stays_a_run(root, trained, tmp_path):
    lasting = [dict(kind=f"{__name__}:Lasting"), *TRANSFORMS]
    with pytest.raises(XfmError, match="`xfm convert` could not write .*: transform 'lasting' cannot be merged into"):
        started(adapted(root, transforms=lasting), tmp_path / "run")
    workdir = shutil.copytree(trained[0], tmp_path / "other")
    record = read_record(workdir)
    write_record(workdir, dataclasses.replace(record, config={**record.config, "transforms": lasting}))
    with pytest.raises(XfmError, match="the transform 'lasting' of this run cannot be merged into the weights of a"):
        convert(workdir, tmp_path / "out")
    m = xfm.load(workdir)
    assert m.family.model_type == "xfm" and flatten(m.params).keys() == flatten(trained[1].state.params).keys()
    ids = [[2, 5, 7, 3]]
    assert_close(m(ids)["logits"], xfm.load(trained[0])(ids)["logits"])
    with pytest.raises(XfmError, match="has the transform 'lasting', which cannot be merged into its weights"):
        carried(find(str(workdir)), [])


@pytest.mark.parametrize(
    "changes,words",
    [
        (
            dict(train_only=["^onw/"]),
            "config.train_only: '\\^onw/' is found in no parameter path; the nearest are",
        ),
        (
            dict(train_only=["^own/"], freeze=["^embed/"]),
            "config.freeze names what does not train and config.train_only",
        ),
        (dict(transforms=[dict(kind="lora", paths="qq")]), "'qq' is found in the path of no linear module"),
    ],
)
def test_a_mistake_is_one_sentence_before_anything_is_trained(root, tmp_path, changes, words):
    with pytest.raises(XfmError, match=words):
        started(adapted(root, **changes), tmp_path / "run")
