"""Which class reads a folder, and what its settings do, against two releases of transformers; others are refused."""

import json

import pytest

from xfm.errors import XfmError

pytest.importorskip("tokenizers")

from tests.hub.make_tokenizer_settings import BRACKETS, CASES, OUT, WORDS, write  # noqa: E402
from tests.hub.test_tokenizer_rows import CASES as ROWS  # noqa: E402
from tests.hub.test_tokenizer_rows import written  # noqa: E402
from xfm.tokenizers.checkpoint.tokenizer import read_tokenizer  # noqa: E402

GOLDEN = json.loads(OUT.read_text())
# Where the releases differ, the one that xfm follows: release 5 makes a ConvBertTokenizer cased, and puts DeBERTa's
# special tokens around a text whatever the tokenizer.json has.
FOLLOWED = {"ConvBERT": "4", "prefix, DeBERTa": "4"}


@pytest.mark.parametrize("what", CASES)
def test_settings_act_as_in_transformers(what, tmp_path):
    config, text = write(tmp_path, what)
    releases = [GOLDEN[release]["ids"][what] for release in ("4", "5")]
    expected = GOLDEN[FOLLOWED[what]]["ids"][what] if what in FOLLOWED else releases[0]
    assert read_tokenizer(tmp_path, config).read(text)[0][0] == expected
    assert (what in FOLLOWED) == (releases[0] != releases[1])


def folder(tmp_path, config=None, **settings):
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(BRACKETS | settings))
    return read_tokenizer(tmp_path, dict(model_type="bert") | (config or {}))


CODE = {"AutoTokenizer": ["tokenization.KoMorphTokenizer", None]}
REFUSED = {
    "MeCab": (dict(tokenizer_class="BertJapaneseTokenizer"), {}, "BertJapaneseTokenizer"),
    "MeCab, in config.json": ({}, dict(tokenizer_class="BertJapaneseTokenizer"), "BertJapaneseTokenizer"),
    "HerBERT": (dict(tokenizer_class="HerbertTokenizerFast"), {}, "HerbertTokenizerFast"),
    "PhoBERT": (dict(tokenizer_class="PhobertTokenizer"), dict(model_type="roberta"), "PhobertTokenizer"),
    "BERTweet": (dict(tokenizer_class="BertweetTokenizer"), dict(model_type="roberta"), "BertweetTokenizer"),
    "jieba": (dict(tokenizer_class="RoFormerTokenizer"), dict(model_type="roformer"), "RoFormerTokenizer"),
    "jieba by the model_type": ({}, dict(model_type="roformer"), "model_type 'roformer'"),
    "code": (dict(tokenizer_class="KoMorphTokenizer", auto_map=CODE), {}, "KoMorphTokenizer .auto_map"),
    "code beside a known class": (dict(tokenizer_class="BertTokenizer", auto_map=CODE), {}, "KoMorphTokenizer"),
    "code, older form": (dict(auto_map=["tokenization.MyTokenizer", None]), {}, "MyTokenizer"),
    "code, in config.json": ({}, dict(auto_map=CODE), "KoMorphTokenizer"),
    "files of another class": (dict(tokenizer_class="AlbertTokenizer"), {}, "it needs tokenizer.json, or spm.model or"),
    "nothing that is whole": ({}, dict(model_type="modernbert"), "modernbert"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_class_that_xfm_does_not_have_is_refused_by_its_name(what, tmp_path):
    settings, config, says = REFUSED[what]
    with pytest.raises(XfmError, match=says):
        folder(tmp_path, config, **settings)


def test_auto_map_of_models_is_no_tokeniser(tmp_path):
    config = dict(auto_map={"AutoModel": "modeling.MyBert"})
    assert folder(tmp_path, config, tokenizer_class="BertTokenizer").read("the")[0][0] == [2, WORDS.index("the"), 3]


# Names that transformers 4 and 5 write into the folders of the families that xfm loads -> a case with such files.
NAMES = {
    "bert_lower": "Bert DistilBert Electra ConvBert MobileBert SqueezeBert LayoutLM",
    "mpnet": "MPNet",
    "funnel": "Funnel",
    "roberta": "Roberta Longformer Bart",
    "gpt2": "GPT2",
    "deberta": "Deberta",
    "clip": "CLIP",
    "xlm_roberta": "XLMRoberta",
    "camembert": "Camembert",
    "t5": "T5 MT5",
    "albert": "Albert",
    "fnet": "FNet",
    "xlnet": "XLNet",
    "deberta_v2": "DebertaV2",
    "byt5": "ByT5",
    "canine": "Canine",
}


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_a_known_class_is_read(name, tmp_path):
    root = written(tmp_path, name)
    path, config = root / "tokenizer_config.json", ROWS[name]["config"]
    settings = json.loads(path.read_text())
    usual = read_tokenizer(root, config).read("one code")
    for each in NAMES[name].split():
        for told in (f"{each}Tokenizer", f"{each}TokenizerFast"):
            path.write_text(json.dumps(settings | dict(tokenizer_class=told)))
            assert read_tokenizer(root, config).read("one code") == usual
    path.write_text(json.dumps({key: value for key, value in settings.items() if key != "tokenizer_class"}))
    if name not in ("byt5", "fnet"):  # a T5's model_type, and settings of another class
        assert read_tokenizer(root, config).read("one code") == usual


def test_a_tokenizer_json_is_whole_under_the_general_classes(tmp_path):
    for what in ("fast is cased", "prefix, fast"):
        config, text = write(tmp_path, what)
        ids = read_tokenizer(tmp_path, config).read(text)
        settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
        for told in ("TokenizersBackend", "PreTrainedTokenizer"):
            (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings | dict(tokenizer_class=told)))
            assert read_tokenizer(tmp_path, config).read(text) == ids
        other = json.dumps(settings | dict(tokenizer_class="GemmaTokenizerFast"))  # ModernBERT's may name any class
        (tmp_path / "tokenizer_config.json").write_text(other)
        assert read_tokenizer(tmp_path, dict(model_type="modernbert")).read(text) == ids
