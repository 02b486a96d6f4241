"""Every validation row counts once, on one device and on eight; a sample of rows is the same every time."""

import csv
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from linear_regression import Rows
from ml_collections import ConfigDict

from xfm.cli import main
from xfm.data.layout import Padded
from xfm.data.source import Arrays
from xfm.errors import XfmError
from xfm.evaluators.rows import EvenBatches, even, predict
from xfm.objectives import OBJECTIVES, evaluated_keys
from xfm.objectives.retrieval import Retrieval
from xfm.sharding import batch_sharding
from xfm.spec import schema
from xfm.train import evaluate, train
from xfm.train.evaluation import evaluate_on, fewest_rows, on_devices, sample
from xfm.train.record import Record, require_same_config, write_record
from xfm.train.run import setup
from xfm.train.state import State

eight = pytest.mark.skipif(jax.device_count() != 8, reason="needs eight (fake) devices")


def mesh(ways):
    return Mesh(np.array(jax.devices()[:ways]).reshape(ways, 1), ("data", "model"))


@pytest.mark.parametrize("ways", [1, 3, 8])
@pytest.mark.parametrize("rows,batch", [(1, 64), (7, 64), (15, 32), (64, 64), (65, 64), (180, 64), (1043, 32), (9, 4)])
def test_each_row_is_in_one_batch(rows, batch, ways):
    """As few batches as possible, of one size and within one of the same number of real rows; filling is marked."""
    source = EvenBatches(Rows(rows, 0), batch, ways)
    dealt = [source[i] for i in range(len(source))]
    numbers = [int(row["number"]) for row in dealt if row["weights"] == 1]
    assert numbers == list(range(rows))
    assert all(not np.any(row["x"]) and row["x"].dtype == np.float32 for row in dealt if row["weights"] == 0)
    count = -(-rows // batch)
    assert len(source) == count * source.size and source.size % ways == 0 and source.size < batch + ways
    assert len(source.real) == count and np.ptp(source.real) <= 1 and source.real.sum() == rows
    assert fewest_rows(rows, batch, None) == source.real.min()
    alone = EvenBatches(Rows(rows, 0), batch, 1)
    for index, real in enumerate(source.real):  # the same batch and position on any number of devices
        for row in range(real):
            assert source[index * source.size + row]["number"] == alone[index * alone.size + row]["number"]


def test_weights_that_rows_have_already_stay():
    source = EvenBatches(Arrays({"tokens": np.ones((3, 4)), "weights": np.full((3, 4), 2)}), 8, 4)
    assert [row["weights"].tolist() for row in (source[i] for i in range(4))] == [[2] * 4] * 3 + [[0] * 4]


def test_no_rows_are_an_error():
    with pytest.raises(XfmError, match="has no rows"):
        evaluate_on(None, None, Arrays({"x": np.zeros((0, 2))}), 8, None, batch_sharding(mesh(1)))


def test_a_sample_is_of_all_rows_and_the_same_every_time():
    few = sample(1000, 10, 4)
    assert len(set(few)) == 40 and (np.diff(few) > 0).all() and (sample(1000, 10, 4) == few).all()
    assert few.min() < 100 and few.max() > 900 and not (few == np.arange(40)).any()
    assert (sample(35, 10, 4) == np.arange(35)).all() and (sample(35, 10, None) == np.arange(35)).all()
    assert fewest_rows(1000, 10, 4) == 10 and even(10, 4).tolist() == [0, 3, 6, 10]


@eight
@pytest.mark.parametrize("ways", [1, 8])
@pytest.mark.parametrize("rows", [3, 15, 43])
def test_metrics_and_predictions_are_of_all_rows(rows, ways):
    """By one program, whose batches are spread over the devices."""
    source, sharding = Rows(rows, 2), batch_sharding(mesh(ways))
    state = State(0, {"w": jnp.arange(6.0)}, None, {}, None, None)

    @jax.jit
    def measure(params, extra, batch, rng, step):
        y = batch["x"] @ params["w"]
        return {"loss": ((y * batch["weights"]).sum(), batch["weights"].sum())}

    found = evaluate_on(measure, state, source, 16, None, sharding)
    np.testing.assert_allclose(found["loss"], (source.x @ np.arange(6.0)).mean(), rtol=1e-5)
    assert measure._cache_size() == 1
    for _, batch in on_devices(EvenBatches(source, 16, ways), sharding, Padded()):
        assert {shard.data.shape[0] for shard in batch["x"].addressable_shards} == {len(batch["x"]) // ways}

    programs = []

    def function(params, batch):
        programs.append(batch["x"].shape)
        return batch["number"], {"y": batch["x"] @ params["w"]}

    numbers, out = predict(function, state.params, source, mesh(ways), 16)
    assert numbers.tolist() == list(range(rows)) and len(programs) == 1
    np.testing.assert_allclose(out["y"], source.x @ np.arange(6.0), rtol=1e-5, atol=1e-6)


def classes(folder):
    """Texts whose class is in their first word, 15 of them for validation."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, rows in (("train", 64), ("dev", 15)):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            lines = csv.writer(file)
            lines.writerow(["text", "label"])
            lines.writerows([" ".join(rng.choice(["ab", "cd", "ef"], 5)), i % 2] for i in range(rows))
    network = dict(
        kind="stack", embed=dict(kind="tokens", vocab=64, width=8), pattern=[dict(kind="mlp", hidden=8)],
        heads=dict(label=dict(kind="classification", classes=2, pool=dict(kind="mean"))), dtype="float32",
    )  # fmt: skip
    return ConfigDict(
        dict(
            model=network, objective=dict(kind="classification", classes=2),
            evals=[dict(kind="classes", scores=["accuracy"])],
            data=dict(kind="labelled", path=str(folder), validation="dev.csv", length=8,
                      tokenizer=dict(kind="wordpiece", size=64)),
            batch=16, steps=2, mesh=dict(data=8, model=1),
        )
    )  # fmt: skip


@eight
def test_a_run_scores_all_rows_alike_on_one_device_and_eight(tmp_path, capsys):
    config = classes(tmp_path / "data")
    spread = train(config, tmp_path / "run")
    alone = evaluate(tmp_path / "run", changes=dict(mesh=dict(data=1, model=8)))
    assert spread.valid == pytest.approx(alone.valid, rel=1e-5)
    assert spread.valid["accuracy"] == spread.report["accuracy"] == alone.report["accuracy"]
    assert round(15 * spread.valid["accuracy"], 4) in range(16)
    assert spread.examples == alone.examples and len(spread.examples) == 3

    other = "--config.evals=[{'kind': 'classes', 'scores': ['macro_f1'], 'shown': 0}]"
    capsys.readouterr()
    assert main(["eval", str(tmp_path / "run"), "--json", other, "--config.eval_steps=1"]) == 0
    out, err = capsys.readouterr()
    assert set(json.loads(out)["scores"]) == {"macro_f1"} and "examples:" not in err
    assert main(["eval", str(tmp_path / "run"), "--config.evals.0.head=lable"]) == 0
    err = capsys.readouterr().err
    for what in ("scores", "examples"):
        assert f"no {what}: config.evals: the network 'model' has no output 'lable' (did you mean 'label'?)" in err
    assert main(["eval", str(tmp_path / "run"), "--config.steps=3"]) == 2
    assert "xfm eval cannot set config.steps, which training has fixed; it can set mesh, " in capsys.readouterr().err


def pairs(folder, train_rows=32, valid=10):
    folder.mkdir()
    for name, rows in (("train", train_rows), ("dev", valid)):
        lines = [json.dumps(dict(query=f"q {i}", positive=f"film {i}")) + "\n" for i in range(rows)]
        (folder / f"{name}.jsonl").write_text("".join(lines))
    network = dict(
        kind="stack", embed=dict(kind="tokens", vocab=300, width=8), pattern=[dict(kind="mlp", hidden=8)],
        heads=dict(vector=dict(kind="vector", pool=dict(kind="mean"))),
    )  # fmt: skip
    return dict(
        model=network, objective=dict(kind="retrieval"), batch=16, steps=1, mesh=dict(data=-1),
        data=dict(kind="pairs", path=str(folder), validation="dev.jsonl", length=8, texts=["query", "positive"],
                  tokenizer=dict(kind="bytes")),
    )  # fmt: skip


def test_a_query_chooses_among_what_a_batch_has(tmp_path, capsys):
    """Told at setup, and the baseline is of that many; too few are refused there."""
    config = pairs(tmp_path / "data")

    def begun(**changes):
        run = setup({**config, **changes}, tmp_path / "run", "write", None)
        run.checkpoints.close()
        return run

    run = begun()
    assert run.objective.among == 10 and run.baseline["chance"] == pytest.approx(np.log(10))
    assert "among is 16 and a batch of the validation data has 10 rows" in capsys.readouterr().err
    assert begun(batch=8).objective.among == 5  # two batches of five
    assert begun(objective=dict(kind="retrieval", among=4)).objective.among == 4
    assert "among is" not in capsys.readouterr().err.split("batch of the validation data has 5 rows")[-1]
    with pytest.raises(XfmError, match="some batch has a single row; give more validation data"):
        setup(pairs(tmp_path / "one", valid=1), tmp_path / "run", "write", None)
    scored = Retrieval(model=None, form=dict(kind="cosine"))
    assert scored.evaluated_in(1) == (scored, None)


def test_keys_that_only_evaluation_reads_may_change(tmp_path):
    old = dict(objective=dict(kind="retrieval", among=16, chunks=2), mesh=dict(data=2), batch=8)
    write_record(tmp_path, Record(old, ""))
    free = evaluated_keys(old["objective"])
    assert free == ("objective.among",)
    require_same_config(
        tmp_path, old | dict(objective=dict(old["objective"], among=8), mesh=dict(data=4)), evaluated=free
    )
    with pytest.raises(XfmError, match=r"\(objective.chunks: 2 -> 4\).*nan_limit.*objective.among may"):
        require_same_config(tmp_path, old | dict(objective=dict(old["objective"], chunks=4, among=8)), evaluated=free)
    with pytest.raises(XfmError, match="objective.among: 16 -> 8"):
        require_same_config(tmp_path, old | dict(objective=dict(old["objective"], among=8)))
    for kind, objective in OBJECTIVES.items():
        keys = [key.removeprefix("objective.") for key in evaluated_keys({"kind": kind})]
        assert set(keys) <= set(schema(objective)), kind
