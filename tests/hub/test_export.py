"""Networks of xfm's as checkpoints of the Hub: each family's way back to config.json, and what transformers reads."""

import importlib
import json
import pkgutil
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

import xfm
import xfm.configs.text
from tests.drawn import drawn, run
from tests.hub import small
from xfm.configs.text import gpt2
from xfm.convert.export import (
    OpenedRun,
    checkpoint_of,
    renumbered,
    without_tokenizer,
    without_transforms,
    write_tokenizer,
)
from xfm.errors import XfmError
from xfm.hub import keys
from xfm.hub.checkpoint import family_of
from xfm.hub.families import WRITTEN
from xfm.hub.matching import differences, match, variants, written
from xfm.paths import flatten
from xfm.spec import plain
from xfm.structures import build
from xfm.tokenizers import TOKENIZERS
from xfm.transforms import network

GOLDENS = sorted(path.stem for path in small.GOLDENS.glob("*.npz"))
# config -> class that its network is written as
CLASSES = {
    "adapter_bias": "BertForSequenceClassification",
    "albert": "AlbertForMaskedLM", "bert": "BertForMaskedLM", "bigbird": "BigBirdForMaskedLM",
    "convbert": "ConvBertForMaskedLM", "deberta": "DebertaV2ForMaskedLM", "distilbert": "DistilBertForMaskedLM",
    "domains": "BertForMaskedLM", "electra": "ElectraForPreTraining", "eurobert": "EuroBertForMaskedLM",
    "finetune_classification": "BertForSequenceClassification", "finetune_pair": "BertForSequenceClassification",
    "finetune_retrieval": "BertModel", "finetune_span": "BertForQuestionAnswering",
    "finetune_tagging": "BertForTokenClassification", "fnet": "FNetForMaskedLM", "gpt2": "GPT2LMHeadModel",
    "clip_text": "GPT2LMHeadModel",  # its tiny is one
    "jina_bert": "JinaBertForMaskedLM", "longformer": "LongformerForMaskedLM", "modernbert": "ModernBertForMaskedLM",
    "mpnet": "MPNetForMaskedLM", "nomic_bert": "NomicBertForMaskedLM", "nystromformer": "NystromformerForMaskedLM",
    "opt": "OPTForCausalLM", "rembert": "RemBertForMaskedLM", "roberta": "RobertaForMaskedLM",
    "canine": "CanineModel", "funnel": "FunnelForMaskedLM", "xlnet": "XLNetLMHeadModel",
    "roformer": "RoFormerForMaskedLM", "t5_encoder": "T5EncoderModel", "enct5": "T5EncoderModel",
}  # fmt: skip
NOT_WRITTEN = {"mosaicbert"}  # what transformers has no class for
# Families that make another number of what the network was trained with; the card says so.
NEAR = {"bigbird", "canine", "longformer", "nystromformer"}


def configs():
    found = {
        m.name: importlib.import_module(f"xfm.configs.text.{m.name}")
        for m in pkgutil.iter_modules(xfm.configs.text.__path__)
    }
    return {name: module for name, module in found.items() if hasattr(module, "get_config")}


def tiny(name):
    return plain(configs()[name].get_config("tiny").model)


@pytest.mark.parametrize("name", GOLDENS)
def test_the_way_back(name):
    """config.json -> network -> config.json -> the same network, by the family's own keys and by what `match` finds."""
    config = small.config(name)
    family = family_of(config)
    if not family.keys:
        pytest.skip(f"{family.model_type} is read only")
    settings = xfm.hub.settings.Settings(config)
    heads = {h.name: plain(h.spec(settings)) for h in loaded(family, name).values()}
    inside = {} if family.towers else {"heads": heads}  # the heads of towers are in the network
    spec = keys.complete(dict(family.network(settings)) | inside)
    m, differ = written(family, spec, {}, ())
    assert not differ and keys.complete(m.spec) == spec
    (mine,), (theirs,) = m.settings.content["architectures"], config["architectures"]
    assert mine.endswith(theirs) or theirs == "T5ForConditionalGeneration"  # JinaBERT's reference is BERT's
    found = match(spec)
    assert not list(differences(spec, found.spec)) and not found.left and not found.near


def loaded(family, name):
    """The heads that the golden's class has."""
    tasks = family.tasks_of(small.config(name)["architectures"])
    one = next(({t} for t in tasks if t == "lm_predictions" and "legacy" in small.config(name)), set(tasks[:1]))
    (architecture,) = small.config(name)["architectures"]
    several = set(tasks) if architecture.endswith(("ForPreTraining", "WithTeacher")) else one
    return family.chosen(tuple(several))


def test_every_family_has_a_way_back():
    without = {family.model_type for family in WRITTEN if not family.keys}
    left = {"siglip2", "videomae", *NOT_WRITTEN}
    assert without <= left, "a family's `keys` are its way back to config.json"


@pytest.mark.parametrize("name", sorted(configs()))
def test_every_config_is_written_as(name):
    if name in NOT_WRITTEN:
        with pytest.raises(XfmError, match="no family of the Hub"):
            match(tiny(name))
        return
    m = match(tiny(name))
    assert m.settings.content["architectures"] == [CLASSES[name]]
    assert bool(m.near) == (name in NEAR)


@pytest.mark.parametrize("name,variant,kind", [("bert", "base", "BertForPreTraining"), ("roberta", "large", "Roberta"),
                                               ("deberta", "base", "DebertaForMaskedLM"), ("opt", "350m", "OPTFor"),
                                               ("deberta", "v2_xlarge", "DebertaV2"), ("bigbird", "base", "BigBird"),
                                               ("modernbert", "large", "ModernBertForMaskedLM"),
                                               ("clip_text", "L", "CLIPTextModelWithProjection"),
                                               ("clip_text", "siglip_B", "SiglipTextModel"),
                                               ("albert", "xlarge", "AlbertForPreTraining")])  # fmt: skip
def test_published_sizes_are_written_as(name, variant, kind):
    (found,) = match(plain(configs()[name].get_config(variant).model)).settings.content["architectures"]
    assert found.startswith(kind)


def exported(spec, folder, pad=0):
    """A network with random parameters, and its checkpoint, saved."""
    model, tokens = build(spec), np.random.default_rng(1).integers(5, 200, (2, 12)).astype(np.int32)
    tokens[0, 3] = 1  # which must not count as padding in RoBERTa's positions
    params = drawn(model, {"tokens": tokens})["params"]  # no zeros and no ones, so that each parameter shows
    m = match(spec)
    (folder / "draft").mkdir()
    checkpoint_of(m, params, folder / "draft", pad).save(folder / "out")
    out = run(model, {"params": params}, {"tokens": tokens, "segments": np.ones_like(tokens)})
    swapped = tokens if m.settings.content.get("pad_token_id") is None else np.where(tokens < 2, 1 - tokens, tokens)
    return m, out, swapped


def close(mine, theirs):
    mine, theirs = np.asarray(mine), np.asarray(theirs)
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=2e-5 * np.abs(theirs).max())


COVERED = ("roberta", "nomic_bert", "finetune_classification")  # by default; the others are slow
RUN = [pytest.param(name, marks=[] if name in COVERED else pytest.mark.slow)
       for name in CLASSES if name not in (NEAR | {"deberta"}) - {"canine"}]  # near at padding alone  # fmt: skip


@pytest.mark.parametrize("name", RUN)
def test_the_written_network_is_the_trained_one(name, tmp_path):
    m, out, tokens = exported(tiny(name), tmp_path)
    again = xfm.load(tmp_path / "out")
    mine = again(input_ids=tokens)
    close(mine["last_hidden_state"], out["hidden"])
    for task, head in again.heads.items():
        theirs = np.asarray(out[head.name])
        if theirs.shape[-1] == m.spec["embed"]["vocab"] and m.settings.content.get("pad_token_id") is not None:
            theirs = theirs[..., [1, 0, *range(2, theirs.shape[-1])]]
        close(mine[task], theirs)


def test_the_decoder_of_deberta_is_its_last_layer(tmp_path):
    """What pre-trains has a layer less and a decoder of one layer; what is written has them in a row."""
    spec = tiny("deberta")
    _, out, tokens = exported(spec, tmp_path)
    m = xfm.load(tmp_path / "out")
    assert list(m.heads) == ["lm_predictions"] and m.config["num_hidden_layers"] == 3 and m.config["legacy"] is False
    close(m(input_ids=tokens, output_hidden_states=True)["hidden_states"][2], out["hidden"])
    files = load_file(tmp_path / "out" / "model.safetensors").keys()
    assert {"deberta.embeddings.position_embeddings.weight", "lm_predictions.lm_head.dense.weight"} <= files


@pytest.mark.parametrize("name,head,message", [
    ("roberta_model", dict(kind="dense"), ""),
    ("bert_model", dict(kind="dense"), ""),
    ("roformer_labels", dict(kind="dense", activation="relu"), ""),
    ("distilbert_model", dict(kind="dense"), "pool.activation is 'tanh' and would be 'relu'"),
    ("distilbert_model", dict(kind="dense", activation="relu"), ""),
])  # fmt: skip
def test_fine_tuned_from_a_checkpoint(name, head, message):
    """The heads of text/finetune_classification on another family's encoder; the pooler goes where that one has it."""
    config = small.config(name)
    settings = xfm.hub.settings.Settings(config)
    label = dict(kind="classification", classes=3, drop=0.1, pool=dict(kind="of_head", head="pooled"))
    spec = dict(family_of(config).network(settings)) | {
        "heads": dict(pooled=dict(kind="vector", pool=head), label=label)
    }
    if message:
        with pytest.raises(XfmError, match=message):
            match(spec)
        return
    m = match(spec, ("no", "yes", "perhaps"))
    assert m.family.model_type == config["model_type"] and "sequence_classification" in m.heads
    assert m.settings.content["id2label"] == {"0": "no", "1": "yes", "2": "perhaps"}
    assert m.settings.content["label2id"] == {"no": 0, "yes": 1, "perhaps": 2}


def test_a_pooler_that_two_heads_read_stays():
    pooled = dict(kind="of_head", head="pooled")
    heads = {"pooled": dict(kind="vector"), "a": dict(pool=pooled), "b": dict(pool=pooled)}
    assert len(list(variants({"heads": heads}))) == 1
    del heads["b"]
    (_, _), (again, moved) = variants({"heads": heads | {"pooled": dict(kind="vector", pool=dict(kind="cls"))}})
    assert again["heads"] == {"a": {"pool": {"kind": "cls"}}} and moved == {"head_pooled/": "head_a/"}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CLASSES if name not in {"jina_bert", "domains", *NEAR} - {"canine"}])
def test_transformers_loads_it(name, tmp_path):
    """transformers reads config.json and each tensor, and its encoder says what xfm's says after loading."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    m, out, tokens = exported(tiny(name), tmp_path)
    (kind,) = m.settings.content["architectures"]
    theirs, report = getattr(transformers, kind).from_pretrained(tmp_path / "out", output_loading_info=True)
    missing = [key for key in report["missing_keys"] if "pooler" not in key]
    unused = [key for key in report["unexpected_keys"] if "position_embeddings" not in key]
    assert not missing and not unused and not report["mismatched_keys"], report
    with torch.no_grad():
        answer = theirs.eval()(input_ids=torch.tensor(tokens, dtype=torch.long), output_hidden_states=True)
    mine = xfm.load(tmp_path / "out")(input_ids=tokens, output_hidden_states=True)
    close(mine["hidden_states"][-1], answer["hidden_states"][-1])
    for key in ("logits", "start_logits", "end_logits", "prediction_logits"):
        if key in answer:
            close(mine[key if key in mine else "masked_lm"], answer[key])


@pytest.mark.parametrize(("objective", "ends"), [("causal_lm", False), ("classification", True)])
def test_texts_end_after_conversion_as_they_did_in_training(objective, ends, tmp_path):
    """A causal classifier is trained on texts that end with [SEP]; a language model goes on where a text stops."""
    (tmp_path / "run").mkdir()
    trained = TOKENIZERS["wordpiece"](size=40).fit(lambda: iter(["some words of a text"]), "corpus", tmp_path / "run")
    data, model = dict(tokenizer=dict(kind="wordpiece")), plain(gpt2.get_config("tiny").model)
    config = dict(model=model, objective=dict(kind=objective), data=data)
    run = OpenedRun(tmp_path / "run", config, (), trained.vocabulary, {}, None, config, {})
    (tmp_path / "out").mkdir()
    write_tokenizer(run, tmp_path / "out", None)
    again = TOKENIZERS["file"](str(tmp_path / "out" / "tokenizer.json")).fit(tuple, "", tmp_path)
    ids = again.joined([["some words"]], 30)[0].ids.tolist()
    assert ids[0] == trained.vocabulary.cls and (ids[-1] == trained.vocabulary.sep) == ends


@pytest.mark.parametrize("kind", ["template", "bert", "several"])
def test_ids_that_are_exchanged_are_so_around_a_text(kind):
    """Also those that the post-processor names, which otherwise would put [PAD] around a text."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "a"]
    before = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    before.pre_tokenizer = pre_tokenizers.Whitespace()
    bert = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    ends = [("[CLS]", 1), ("[SEP]", 2)]
    template = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A $B [SEP]", special_tokens=ends)
    before.post_processor = {"template": template, "bert": bert, "several": processors.Sequence([template])}[kind]
    after = Tokenizer.from_str(json.dumps(renumbered(json.loads(before.to_str()), {0: 1, 1: 0})))
    assert before.encode("a").ids == [1, 4, 2] and after.encode("a").ids == [0, 4, 2]
    assert after.encode("a").tokens == ["[CLS]", "a", "[SEP]"]


def test_a_transform_that_fails_to_merge_stays_one():
    """The network keeps it when the run is opened, and nothing is written without it."""
    model = dict(
        kind="stack", embed=dict(kind="tokens", vocab=11, width=8), pattern=[dict(kind="mlp", hidden=12, bias=False)],
        heads=dict(mlm=dict(kind="mlm", vocab=11)),
    )  # fmt: skip
    config = dict(model=model, transforms=[dict(kind="adapter_bias")])
    shapes = jax.eval_shape(network(config).init, jax.random.key(0), dict(tokens=np.ones((1, 3), np.int32)))["params"]
    weights = {path: np.ones(x.shape, x.dtype) for path, x in flatten(shapes).items()}
    assert without_transforms(config, weights) == (config, weights)
    run = OpenedRun("run", config, (), None, weights, None, config, {})
    with pytest.raises(XfmError, match="'adapter_bias' cannot be merged: the linear map .* has no bias"):
        run.match()


@pytest.mark.parametrize(
    ("kind", "family", "said"), [("bytes", "bert", True), ("characters", "canine", False), ("characters", "bert", True)]
)
def test_the_card_says_if_no_tokeniser_is_written(kind, family, said, tmp_path):
    run = OpenedRun(tmp_path, dict(data=dict(tokenizer=dict(kind=kind))), (), None, {}, None, {}, {})
    notes = without_tokenizer(run, SimpleNamespace(folder=tmp_path, family=SimpleNamespace(model_type=family)))
    assert [f"of kind {kind!r}, has no file that transformers could read" in note for note in notes] == [True] * said
    (tmp_path / "tokenizer.json").write_text("{}")
    assert without_tokenizer(run, SimpleNamespace(folder=tmp_path, family=SimpleNamespace(model_type=family))) == []
