"""A fine-tuned network leaves with heads of the family that it started from, whichever that is."""

import pytest

from tests.hub import small
from xfm.configs.text import finetune_classification, finetune_span, finetune_tagging
from xfm.errors import XfmError
from xfm.hub.checkpoint import family_of
from xfm.hub.matching import match
from xfm.hub.sentence.heads import unwritten
from xfm.hub.settings import Settings
from xfm.spec import plain
from xfm.structures.pretrained import network
from xfm.train.found import own_heads

TASKS = {
    "label": finetune_classification.get_config("base").model,
    "tags": finetune_tagging.get_config("base").model,
    "span": finetune_span.get_config("squad").model,
}
ALL = ("label", "tags", "span")
# golden -> its model_type, and the heads that a network of this family can leave with
FAMILIES = {
    "albert_model": ("albert", ALL), "bert_model": ("bert", ALL), "bigbird_model": ("big_bird", ALL),
    "camembert_choice": ("camembert", ALL), "canine_model": ("canine", ALL), "convbert_model": ("convbert", ALL),
    "deberta_v1_mlm": ("deberta", ALL), "deberta_v2_mlm": ("deberta-v2", ALL),
    "distilbert_model": ("distilbert", ALL), "electra_discriminator": ("electra", ALL),
    "eurobert_model": ("eurobert", ("label", "tags")), "fnet_mlm": ("fnet", ALL), "funnel_base": ("funnel", ("label",)),
    "funnel_model": ("funnel", ("tags", "span")),
    "gpt2_lm": ("gpt2", ALL), "jina_bert_model": ("bert", ALL), "longformer_model": ("longformer", ALL),
    "modernbert_model": ("modernbert", ALL), "mpnet_model": ("mpnet", ALL), "mt5_encoder": ("mt5", ("tags",)),
    "nomic_bert_model": ("nomic_bert", ("label", "tags")), "nystromformer_model": ("nystromformer", ALL),
    "opt_model": ("opt", ("label", "span")), "rembert_model": ("rembert", ALL), "roberta_model": ("roberta", ALL),
    "roformer_model": ("roformer", ALL), "t5_encoder": ("t5", ("tags",)), "umt5_encoder": ("umt5", ("tags",)),
    "xlm_roberta_tags": ("xlm-roberta", ALL), "xlnet_lm": ("xlnet", ALL),
}  # fmt: skip


def found(golden, task):
    """The network of text/finetune_* on a checkpoint, and how the Hub has it."""
    config = small.config(golden)
    family = family_of(config)
    base = plain(dict(family.network(Settings(config))) | {"heads": {}})
    spec = network(TASKS[task], base, own_heads(family, config))
    return spec, match(spec, family=config["model_type"])


@pytest.mark.parametrize("golden", FAMILIES)
def test_the_heads_of_its_own_family(golden):
    kind, tasks = FAMILIES[golden]
    for task in ALL:
        if kind == "funnel" and task not in tasks:  # the Hub's classify without the decoder, and tag with it
            with pytest.raises(XfmError, match="funnel does not have this network .*decoder"):
                found(golden, task)
            continue
        spec, m = found(golden, task)
        assert m.family.model_type == m.settings.content["model_type"] == kind
        lost = unwritten(m, spec)
        assert lost == ([] if task in tasks else [task]), f"{golden} loses {lost}"
        if task == "tags" and task in tasks:
            assert len(m.settings.content["id2label"]) == len(finetune_tagging.CONLL2003)


def test_what_the_config_sets_stands_over_the_familys():
    model = plain(TASKS["label"])
    model["heads"]["label"] |= dict(pool=dict(kind="mean"), drop=0.3)
    family = family_of(config := small.config("bert_model"))
    base = plain(family.network(Settings(config)))
    spec = network(model | dict(norms={"in": dict(kind="rmsnorm")}, residual=dict(drop=0.5)), base,
                   own_heads(family, config))  # fmt: skip
    assert spec["heads"] == dict(label=dict(kind="classification", classes=2, pool=dict(kind="mean"), drop=0.3))
    assert spec["norms"] == {"in": dict(kind="rmsnorm")} and spec["residual"] == base["residual"] | dict(drop=0.5)
    assert spec["pattern"] == base["pattern"] and spec["embed"] == base["embed"]
    with pytest.raises(XfmError, match="bert does not have this network .*norms"):
        match(spec, family="bert")
    with pytest.raises(XfmError, match="head 'label' is a 'classification' here, which has no field 'colour'"):
        network(model | dict(heads=dict(label=model["heads"]["label"] | dict(colour=1))), base)


def test_without_a_checkpoint_it_is_the_default():
    spec = network(TASKS["label"])
    assert list(spec["heads"]) == ["pooled", "label"] and spec["kind"] == "stack" and spec["repeats"] == 12
    assert spec["heads"]["label"]["pool"] == dict(kind="of_head", head="pooled")
