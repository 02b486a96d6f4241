"""A run whose texts lie without padding is the padded run's equal, resumes exactly, and logs its share of padding."""

import json
import shutil

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from tests.close import assert_close
from xfm.catalogue import load
from xfm.errors import XfmError
from xfm.train import evaluate, train
from xfm.train.logs import read_metrics
from xfm.train.report import share_of_padding
from xfm.train.run import setup


def config(folder, **changes):
    """Classes of texts of one to twelve words, from files."""
    if not folder.exists():
        folder.mkdir()
        rng = np.random.default_rng(0)
        rows = [dict(text=" ".join(["ab", "cd", "ef"][k] for k in rng.integers(0, 3, n)), label=int(n > 6))
                for n in rng.integers(1, 13, 240)]  # fmt: skip
        (folder / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    network = dict(
        kind="stack",
        embed=dict(kind="tokens", vocab=64, width=16, position=dict(kind="learned", length=16)),
        pattern=[dict(kind="attention", heads=2), dict(kind="mlp", hidden=32)],
        norms={"in": dict(kind="layernorm")},
        heads=dict(label=dict(kind="classification", classes=2, pool=dict(kind="mean"))),
        dtype="float32",
    )
    return ConfigDict(
        dict(
            model=network,
            objective=dict(kind="classification", classes=2),
            data=dict(kind="labelled", path=str(folder / "all.jsonl"), length=16, validation=0.3,
                      tokenizer=dict(kind="wordpiece", size=64)),
            layout=dict(kind="tokens", window=4),
            batch=16, steps=12, eval_every=6, save_every=6, log_every=3, mesh=dict(data=4, model=2),
        )
        | changes
    )  # fmt: skip


EXACT = ("step", "kind", "loss", "accuracy", "grad_norm", "padding")


def lines(workdir, kind="train"):
    return [{k: v for k, v in x.items() if k in EXACT} for x in read_metrics(workdir) if x["kind"] == kind]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    said = []
    result = train(config(folder / "data"), folder / "run", lambda name, values: said.append((name, values)))
    return folder, result, said


def test_padding_is_in_the_metrics_of_what_was_trained_on(whole):
    """The share of padding in a window's steps, counted from the batches themselves; it is larger for padded rows."""
    folder, _, _ = whole
    run = setup(config(folder / "data").to_dict(), folder / "other", "write", None)
    run.checkpoints.close()
    from xfm.data import Batches

    def shares(layout):
        batches, found = Batches(run.data.train, 16, 0), []
        batches = run.layout.over(batches, 4) if layout == "tokens" else batches
        for first in range(0, 12, 3):
            rows = [batches.rows(step) for step in range(first, first + 3)]
            positions = sum(row["cells" if layout == "tokens" else "tokens"].size for row in rows)
            found.append(1 - sum((row["segments"] > 0).sum() for row in rows) / positions)
        return found

    np.testing.assert_allclose([line["padding"] for line in lines(folder / "run")], shares("tokens"), rtol=1e-6)
    train(config(folder / "data", layout=dict(kind="padded")), folder / "padded")
    padded = [line["padding"] for line in lines(folder / "padded")]
    np.testing.assert_allclose(padded, shares("padded"), rtol=1e-6)
    assert np.mean(shares("tokens")) < np.mean(padded) - 0.1
    assert lines(folder / "run", "valid")[0].keys() == {"step", "kind", "loss", "accuracy"}


def test_padding_of_the_rows_is_reported(whole, capsys):
    folder, _, _ = whole
    run = setup(config(folder / "data").to_dict(), folder / "told", "write", None)
    run.checkpoints.close()
    rows = np.stack([run.data.train[i]["segments"] for i in range(len(run.data.train))])
    assert share_of_padding(run.data.train) == pytest.approx((rows == 0).mean())
    assert f", {(rows == 0).mean():.0%} padding)" in capsys.readouterr().err


def test_validation_equals_that_of_padded_rows(whole):
    folder, result, _ = whole
    again = evaluate(folder / "run")
    assert again.valid == result.valid
    run = setup(config(folder / "data", layout=dict(kind="padded")).to_dict(), folder / "again", "write", None)
    run.checkpoints.close()
    from xfm.sharding import batch_sharding
    from xfm.train.evaluation import evaluate_on

    padded = evaluate_on(run.evaluate, result.state, run.data.valid, 16, None, batch_sharding(run.mesh))
    assert_close(jax.tree.map(np.float32, result.valid), jax.tree.map(np.float32, padded))


def test_a_run_that_stopped_goes_on_exactly(whole):
    folder, result, _ = whole
    shutil.copytree(folder / "run", folder / "part")
    shutil.rmtree(folder / "part/checkpoints/12")
    more = train(config(folder / "data"), folder / "part")
    assert lines(folder / "part") == lines(folder / "run")
    jax.tree.map(np.testing.assert_array_equal, more.state.params, result.state.params)


@pytest.mark.slow
def test_accumulation_sees_the_same_texts(whole):
    """Groups of each microbatch are its own: the first loss is that of one microbatch with the same rows."""
    folder, _, _ = whole
    layout, mesh = dict(kind="tokens", window=1), dict(data=1, model=8)
    alone = config(folder / "data", steps=1, log_every=1, layout=layout, mesh=mesh)
    train(alone, folder / "alone")
    train(ConfigDict({**alone.to_dict(), "accumulate": 4}), folder / "four")
    one, four = (lines(folder / name)[0] for name in ("alone", "four"))
    assert four["loss"] == pytest.approx(one["loss"], rel=1e-5)
    assert four["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-5)


@pytest.mark.parametrize(
    "changes,sentence",
    [
        (dict(layout=dict(kind="token")), r"has no kind 'token' \(did you mean 'tokens'\?\)"),
        (dict(layout=dict(kind="tokens", rows=1)), "rows of 16 tokens, but rows=1; raise it"),
        (dict(layout=dict(kind="tokens", length=8)), "cannot hold texts of up to 16 tokens; give 16 or more"),
    ],
)
def test_layouts_that_cannot_be(whole, changes, sentence):
    folder, _, _ = whole
    with pytest.raises(XfmError, match=sentence):
        train(config(folder / "data", **changes), folder / "wrong")


def test_a_network_that_reads_whole_rows_is_refused_when_its_config_is_read(tmp_path):
    with pytest.raises(XfmError, match="'fourier' transforms a whole row"):
        load("text/fnet:tiny", ["layout={'kind': 'tokens'}"])
    c = load("text/fnet:tiny")
    c.layout = dict(kind="tokens")
    with pytest.raises(XfmError, match="'fourier' transforms a whole row"):
        train(c, tmp_path / "run")
    c = load("text/bert:tiny", ["layout={'kind': 'tokens'}", "layout.window=4"])
    assert c.layout.to_dict() == dict(kind="tokens", window=4)
    with pytest.raises(XfmError, match="has no key 'windows' \\(did you mean 'window'"):
        load("text/bert:tiny", ["layout={'kind': 'tokens'}", "layout.windows=4"])
