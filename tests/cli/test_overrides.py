"""Values of a config set from outside: what may be set, to what, and how a refusal speaks."""

import copy

import pytest
from ml_collections import ConfigDict

from xfm.catalogue import apply_overrides
from xfm.configs.text import bert, finetune_classification, mosaicbert
from xfm.configs.vision import vit
from xfm.errors import XfmError
from xfm.spec import plain
from xfm.structures.pretrained import network


@pytest.fixture
def config():
    return bert.get_config("tiny")


def at(config, key):
    for step in key.split("."):
        config = config[int(step)] if step.isdecimal() else config[step]
    return config


@pytest.mark.parametrize(
    "key, text, value",
    [
        ("model.repeats", "3", 3),
        ("model.pattern.0.heads", "8", 8),
        ("model.pattern.0.kv_heads", "2", 2),  # a field of the part that the config leaves alone
        (
            "model.pattern.0.position",
            "{'kind': 'rope', 'theta': 100}",
            {"kind": "rope", "theta": 100},
        ),
        ("model.dtype", "bfloat16", "bfloat16"),
        ("model.remat", "full", "full"),
        (
            "model.heads.tags",
            "{'kind': 'tagging', 'classes': 3}",
            {"kind": "tagging", "classes": 3},
        ),
        ("model.embed.norm", "None", None),
        ("data.path", "/some/where", "/some/where"),
        ("data.path", "2024", "2024"),  # text stays text
        ("data.validation", "held/out", "held/out"),
        ("steps", "1e3", 1000),
        ("schedule.peak", "1", 1),
        ("schedule.end", "1e-5", 1e-5),
        ("clip", "None", None),
        ("ema", "0.999", 0.999),  # the trainer knows it, the config does not set it
        ("mesh", "{'data': 4, 'model': 2}", {"data": 4, "model": 2}),
        ("freeze", "['embed/.*']", ["embed/.*"]),
        ("objective.split", "(1.0, 0.0, 0.0)", [1.0, 0.0, 0.0]),
        ("objective.units", "{'kind': 'span', 'mean': 3}", {"kind": "span", "mean": 3}),
        ("name", "first try = 1", "first try = 1"),
    ],
)
def test_sets(config, key, text, value):
    changed = apply_overrides(config, [f"{key}={text}"])
    found = at(changed, key)
    found = found.to_dict() if isinstance(found, ConfigDict) else found
    assert found == value and type(found) is type(value)


def test_the_config_given_stays_as_it_is(config):
    before = copy.deepcopy(config.to_dict())
    changed = apply_overrides(config, ["model.pattern.0.heads=2", "batch=8", "data.length=32"])
    assert config.to_dict() == before
    assert (changed.model.pattern[0]["heads"], changed.batch, changed.data.length) == (2, 8, 32)
    changed.model.pattern[0]["heads"], changed.batch, changed.data.length = 4, config.batch, config.data.length
    assert apply_overrides(changed, []).to_dict() == apply_overrides(config, []).to_dict()


def test_later_values_build_on_earlier_ones(config):
    text = "model.pattern.0.position={'kind': 'rope'}", "model.pattern.0.position.theta=500.0"
    assert apply_overrides(config, text).model.pattern[0]["position"]["theta"] == 500.0


def test_a_new_kind_drops_the_fields_that_it_has_not_and_says_so(config):
    told = []
    changed = apply_overrides(config, ["optimiser.kind=lion", "model.pattern.1.kind=glu"], told.append)
    assert set(changed.optimiser) == {"kind", "b1", "b2", "weight_decay"}
    assert changed.model.pattern[1] == {"kind": "glu", "hidden": 512, "activation": "gelu"}
    assert told == ["config.optimiser.eps is dropped: 'lion' has no such field"]


def test_whole_sublayers():
    changed = apply_overrides(mosaicbert.get_config("tiny"), ["model.pattern.1.part.hidden=64"])
    assert changed.model.pattern[1]["part"]["hidden"] == 64


@pytest.mark.parametrize(
    "override, words",
    [
        ("btach=3", ("config has no key 'btach'", "did you mean 'batch'", "steps", "ema")),
        ("model.repeat=3", ("config.model has no key 'repeat'", "'repeats'", "prologue")),
        ("model.pattern.0.hedas=3", ("config.model.pattern.0 has", "'heads'", "kv_heads", "drop")),
        ("model.heads.mlm.vocabulary=9", ("config.model.heads.mlm has", "'vocab'", "table")),
        ("model.heads.mml=9", ("config.model.heads has no key 'mml'", "'mlm'")),
        ("model.embed.position.lenght=9", ("config.model.embed.position", "'length'")),
        ("model.pattern.0.position.theta=9", ("config.model.pattern.0", "'position'", "whole")),
        ("model.pattern.2.heads=3", ("config.model.pattern", "list of 2", "'2'", "0 to 1")),
        ("model.pattern.first=3", ("config.model.pattern", "'first'", "0 to 1")),
        ("model.repeats.more=3", ("config.model.repeats", "2", "'more'")),
        ("data.paht=/x", ("config.data has no key 'paht'", "'path'", "packing")),
        ("data.tokenizer.sise=9", ("config.data.tokenizer", "'size'")),
        ("optimiser.beta1=9", ("config.optimiser", "b1, b2", "weight_decay")),
        ("schedule.warm=9", ("config.schedule", "'warmup'", "peak")),
        ("objective.rat=0.2", ("config.objective", "'rate'", "units")),
        ("steps=many", ("config.steps", "a whole number", "'many'")),
        ("steps=1.5", ("config.steps", "a whole number", "'1.5'")),
        ("steps=True", ("config.steps", "a whole number", "'True'")),
        ("steps=None", ("config.steps", "a whole number", "'None'")),
        ("clip=tight", ("config.clip", "a number above 0 or None", "'tight'")),
        ("model.pattern.0.bias=3", ("config.model.pattern.0.bias", "True or False", "'3'")),
        ("model.pattern.0.kv_heads=few", ("kv_heads", "a whole number of at least 1 or None", "'few'")),
        ("model.mask=causl", ("config.model.mask", "'full' or 'causal'", "'causl'")),
        ("model.pattern=3", ("config.model.pattern", "a list", "'3'")),
        ("optimiser=lion", ("config.optimiser", "a mapping", "config.optimiser.kind=lion")),
        ("steps", ("'steps'", "key=value")),
        ("=3", ("'=3'", "key=value")),
        ("model..repeats=3", ("'model..repeats=3'", "key=value")),
    ],
)
def test_refuses(config, override, words):
    with pytest.raises(XfmError) as raised:
        apply_overrides(config, [override])
    assert all(word in str(raised.value) for word in words), str(raised.value)
    assert "\n" not in str(raised.value)


def test_reaches_into_lists():
    config = vit.get_config("tiny")
    config.data.augment = [dict(kind="crop", pad=4)]
    assert apply_overrides(config, ["data.augment.0.pad=2"]).data.augment[0]["pad"] == 2
    with pytest.raises(XfmError, match=r"config.data.augment.0 has no key 'pda' .*'pad'"):
        apply_overrides(config, ["data.augment.0.pda=2"])


@pytest.mark.parametrize("key, text, value", [
    ("model.residual.drop", "0.2", 0.2),
    ("model.embed.norm.eps", "1e-3", 1e-3),
    ("model.norms", "{'in': {'kind': 'rmsnorm'}}", {"in": {"kind": "rmsnorm"}}),
    ("model.pattern", "[{'kind': 'attention', 'heads': 4}]", [{"kind": "attention", "heads": 4}]),
    ("model.heads.label.classes", "5", 5),
    ("model.heads.label.pool", "{'kind': 'mean'}", {"kind": "mean"}),
    ("model.dtype", "bfloat16", "bfloat16"),
    ("model.remat", "full", "full"),
    ("start.fresh", "('^head_label/',)", ["^head_label/"]),
])  # fmt: skip
def test_sets_what_a_checkpoint_has_otherwise(key, text, value):
    """A network of kind "pretrained" takes any field of a structure, and single fields of its parts."""
    config = finetune_classification.get_config("base")
    changed = plain(apply_overrides(config, [f"{key}={text}"]))
    assert plain(at(changed, key)) == value
    assert network(changed["model"])["kind"] == "stack"


@pytest.mark.parametrize("override, said", [
    ("model.residul.drop=0.2", "config.model has no key 'residul' .did you mean 'residual'"),
    ("model.residual.drp=1", "config.model.residual has no key 'drp' .did you mean 'drop'"),
    ("model.heads.label.clases=5", "config.model.heads.label has no key 'clases' .did you mean 'classes'"),
    ("model.pattern.0.heads=3", "does not set 'pattern'; give it whole, as in config.model.pattern=\\[…\\]"),
    ("transforms.0.rank=3", "config does not set .transforms.; give it whole, as in config.transforms=\\[…\\]"),
    ("transforms=lora", "config.transforms takes a list, each item a mapping, not .lora."),
])  # fmt: skip
def test_refuses_what_no_structure_has(override, said):
    with pytest.raises(XfmError, match=said):
        apply_overrides(finetune_classification.get_config("base"), [override])
