"""Every config and every variant: its parameters by path, its size, its shards, and that `tiny` learns.

A paper may cost three CPU seconds here in the default run, so each variant is traced once for all that is asked of its
shapes, and of the tiny ones a covering set learns; `-m slow` runs the others.
The text goldens freeze what is API: the paths. Renew them with XFM_RENEW=1 and read the difference.
"""

import ast
import dataclasses
import functools
import importlib
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from tests import drawn, keys
from tests.configs.covering import covering, needs
from xfm.catalogue import apply_overrides, check, entries, find
from xfm.cli import split_overrides
from xfm.data import SOURCES
from xfm.describe import example_batch
from xfm.initial import initial_shapes
from xfm.objectives import build_objective
from xfm.objectives.base import Objective
from xfm.objectives.clicks import Clicks
from xfm.objectives.image_to_image import ImageToImage
from xfm.objectives.joint_embedding import JointEmbedding
from xfm.objectives.local_masked_images import LocalMaskedImages
from xfm.objectives.mask_align import MaskAlign
from xfm.objectives.masked_images import MaskedImages
from xfm.sharding import RULES, rule_of
from xfm.spec import build, plain
from xfm.transforms import network
from xfm.vocabulary import Vocabulary

GOLDENS = Path(__file__).parent.parent / "goldens" / "params"
ENTRIES = entries()
VARIANTS = [(entry.config, variant) for entry in ENTRIES for variant in entry.variants]


def config_of(name, variant):
    return importlib.import_module("xfm.configs." + name.replace("/", ".")).get_config(variant)


NEEDS = {entry.config: needs(plain(config_of(entry.config, "tiny"))) for entry in ENTRIES if not entry.error}
COVERING = covering(NEEDS)
TINY = [pytest.param(name, marks=() if name in COVERING else pytest.mark.slow) for name in NEEDS]


STANDING_IN = Vocabulary(size=8, pad=0, unknown=1, cls=2, sep=3, mask=4, special=(0, 1, 2, 3, 4))
CHECKED = [v for v in VARIANTS if v[1] in ("tiny", "8B", "base", "deit_S", "B/16")]


@functools.cache
def checked(name, variant):
    """The shapes of all the objective's parameters, from the trainer's own check of the config."""
    return check(config_of(name, variant))


@functools.cache
def shapes(name, variant):
    """Of the network's parameters; where the trainer's check traces no other network, they are those of the check."""
    config = config_of(name, variant)
    if (name, variant) in CHECKED and list(build_objective(config, STANDING_IN).networks) == ["model"]:
        return flatten_dict(checked(name, variant), sep="/")
    return shapes_of(config)


def shapes_of(config):
    return flatten_dict(initial_shapes(network(config), example_batch(config))["params"], sep="/")


def size(params):
    return sum(int(np.prod(leaf.shape)) for leaf in params.values())


def test_every_config_file_can_be_read():
    assert [entry.error for entry in ENTRIES if entry.error] == []
    assert all(entry.paper and entry.oracle and "tiny" in entry.variants for entry in ENTRIES)


def test_the_covering_set_holds_every_kind_that_a_tiny_config_has():
    everything = set().union(*NEEDS.values())
    assert set().union(*(NEEDS[name] for name in COVERING)) == everything
    of_model = ("stack", "attention", "layernorm", "dense", "pool dense")
    assert {("objective", "masked_lm"), *(("model", kind) for kind in of_model)} <= everything


def written(name, variant):
    """Paths, shapes, dtypes and shards of a variant, as text."""
    lines = [f"{name}:{variant}"]
    for path, leaf in sorted(shapes(name, variant).items()):
        cut = " ".join(
            f"{table}={','.join(axis or '-' for axis in rule_of(path, rules)) or '-'}"
            for table, rules in RULES.items()
            if table != "replicated"
        )
        lines.append(f"  {path} {'x'.join(map(str, leaf.shape)) or 'scalar'} {leaf.dtype} {cut}")
    return "\n".join(lines) + "\n"


def frozen(entry):
    """The variants whose paths a golden holds, and the golden."""
    return dict.fromkeys(("tiny", entry.default)), GOLDENS / f"{entry.config.replace('/', '_')}.txt"


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.config)
def test_goldens_hold_the_tiny_and_the_default_variant(entry):
    variants, golden = frozen(entry)
    if os.environ.get("XFM_RENEW"):
        golden.write_text("".join(written(entry.config, variant) for variant in variants))
    assert golden.exists(), f"{golden.name} is missing; make it with XFM_RENEW=1"
    titles = [line for line in golden.read_text().splitlines() if not line.startswith("  ")]
    assert titles == [f"{entry.config}:{variant}" for variant in variants]


@pytest.mark.parametrize("entry,variant", [
    pytest.param(entry, variant, id=f"{entry.config}-{variant}") for entry in ENTRIES for variant in entry.variants
])  # fmt: skip
def test_size_shards_and_paths(entry, variant):
    params = shapes(entry.config, variant)
    if variant in entry.parameters:
        assert size(params) == entry.parameters[variant]
    for one in PUBLISHED:
        if one[:2] == (entry.config, variant):
            assert_rounds_to_the_published_figure(params, *one[1:])
    for table, rules in RULES.items():
        for path in params:
            rule_of(path, rules)  # raises unless exactly one rule matches
        assert table
    variants, golden = frozen(entry)
    if variant in variants:
        sections = re.split(r"^(?=\S)", golden.read_text(), flags=re.MULTILINE)
        assert written(entry.config, variant) in sections, (
            f"parameters of {entry.config}:{variant} changed; XFM_RENEW=1 renews the golden"
        )


# As printed: (config, variant, paths not counted there, millions, digits after the point)
PUBLISHED = [
    ("text/bert", "L2_H128", None, 4.4, 1),  # Turc et al. 2019, table 1
    ("text/bert", "L4_H256", None, 11.3, 1),
    ("text/bert", "L4_H512", None, 29.1, 1),
    ("text/bert", "L8_H512", None, 41.7, 1),
    ("text/bert", "base", None, 110.1, 1),
    ("text/bert", "base", None, 110, 0),  # Devlin et al. 2019, section 3
    ("text/mosaicbert", "base", None, 137, 0),  # Portes et al. 2023, section 3
    ("text/roberta", "base", None, 125, 0),  # as its release prints
    ("text/roberta", "large", None, 355, 0),
    ("text/roberta", "camembert", "head_mlm", 110, 0),  # Martin et al. 2020, section 4.2
    ("text/distilbert", "base", "head_mlm", 66, 0),  # Sanh et al. 2019, table 3
    ("text/electra", "small", None, 14, 0),  # Clark et al. 2020, table 1
    ("text/electra", "large", None, 335, 0),
    ("text/mpnet", "base", None, 110, 0),  # Song et al. 2020, section 3.1
    ("text/albert", "base", None, 12, 0),  # Lan et al. 2020, table 1
    ("text/albert", "large", None, 18, 0),
    ("text/deberta", "base", ("embed/word", "head_mlm/position", "head_mlm/words"), 100, 0),  # the authors' README
    ("text/deberta", "v3_xsmall", ("embed/word", "head_mlm/position"), 22, 0),
    ("text/deberta", "v3_small", ("embed/word", "head_mlm/position"), 44, 0),
    ("text/deberta", "v3_base", ("embed/word", "head_mlm/position"), 86, 0),
    ("text/deberta", "v3_large", ("embed/word", "head_mlm/position"), 304, 0),
    ("text/modernbert", "base", "head", 149, 0),  # Warner et al. 2024, section 2.1
    ("text/modernbert", "large", "head", 395, 0),
    ("text/nomic_bert", "base", None, 137, 0),  # Nussbaum et al. 2024
    ("text/jina_bert", "small", None, 33, 0),  # Günther et al. 2023, table 1
    ("text/jina_bert", "base", None, 137, 0),
    ("text/jina_bert", "large", None, 435, 0),
    ("text/domains", "fernet_news", None, 124, 0),  # its model card
    ("text/domains", "crisis_m3", None, 135, 0),  # BERTweet's, as its README prints
    ("text/domains", "tiny_toxic", None, 2.1, 1),
    ("vision/vit", "Ti/16", "head_label", 5.5, 1),  # Steiner et al. 2022, table 2
    ("vision/vit", "S/16", "head_label", 21.7, 1),
    ("vision/vit", "B/16", "head_label", 85.8, 1),
    ("vision/vit", "L/16", "head_label", 303.3, 1),
    ("vision/vit", "B/16", "head_label", 86, 0),  # Dosovitskiy et al. 2021, table 1
    ("vision/vit", "H/14", None, 632, 0),
    ("vision/vit", "deit_S", None, 22, 0),  # Touvron et al. 2021, table 1
    ("vision/vit", "deit_B", None, 86, 0),
    ("vision/t2t_vit", "14", None, 21.5, 1),  # Yuan et al. 2021, table 2
    ("vision/t2t_vit", "12", None, 6.9, 1),
    ("vision/tnt", "S", None, 23.8, 1),  # Han et al. 2021, table 2
    ("vision/crossformer", "T", None, 27.8, 1),  # the authors' README
    ("vision/crossformer", "S", None, 30.7, 1),
    ("vision/crossformer", "B", None, 52.0, 1),
    ("vision/crossformer", "L", None, 92.0, 1),
    ("vision/rmt", "T", None, 14, 0),  # the authors' README
    ("vision/rmt", "S", None, 27, 0),
    ("vision/rmt", "B", None, 54, 0),
    ("vision/rmt", "L", None, 95, 0),
    ("vision/crate", "tiny_384", None, 6.09, 2),  # Yu et al. 2023, table 1
    ("vision/crate", "small", None, 13.12, 2),
    ("vision/crate", "base", None, 22.80, 2),
    ("vision/crate", "large", None, 77.64, 2),
    ("vision/patch_convnet", "S60", None, 25.2, 1),  # Touvron et al. 2021, table 3
    ("vision/patch_convnet", "B120", None, 188.6, 1),
]


def assert_rounds_to_the_published_figure(params, variant, without, millions, digits):
    counted = {path: leaf for path, leaf in params.items() if not (without and path.startswith(without))}
    number = size(counted) / 1e6
    if (variant, millions) == ("deit_B", 86):
        number = np.floor(number)  # 86.57 million: the paper cuts where the others round
    assert round(number, digits) == millions


def test_published_figures_are_of_variants():
    assert {one[:2] for one in PUBLISHED} <= set(VARIANTS)


def test_the_hybrid_has_the_published_layers():
    pattern = config_of("sequence/mamba2_hybrid", "8B").model.pattern
    kinds = [part["kind"] for part in pattern]
    assert [kinds.count(kind) for kind in ("mamba2", "attention", "mlp")] == [24, 4, 28]


def attentions(spec):
    """The attention parts of a spec, wherever they stand in it."""
    inner = spec.values() if isinstance(spec, Mapping) else spec if isinstance(spec, list | tuple) else ()
    own = [spec] if isinstance(spec, Mapping) and spec.get("kind") == "attention" and "heads" in spec else []
    return own + [part for value in inner for part in attentions(value)]


@pytest.mark.parametrize("name,variant", [v for v in VARIANTS if v[1].endswith("_h128")])
def test_heads_of_128_are_all_that_differs(name, variant):
    """The paper's config but for the number of heads; every parameter as large as there."""
    both = (variant, variant.removesuffix("_h128"))
    size_by_path = [{path: leaf.size for path, leaf in shapes(name, one).items()} for one in both]
    assert size_by_path[0] == size_by_path[1]
    queries = [leaf.shape for path, leaf in shapes(name, variant).items() if path.endswith("q/kernel")]
    assert queries and {shape[-1] for shape in queries} == {128}
    wide, papers = (plain(config_of(name, one)) for one in both)
    for part in attentions(wide) + attentions(papers):
        del part["heads"]
    assert wide == papers


@pytest.mark.parametrize("name,variant", CHECKED)
def test_the_trainer_accepts_it(name, variant):
    """Settings, optimiser rules and initial values fit the network; nothing is allocated."""
    checked(name, variant)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.config)
def test_the_command_in_the_header_sets_what_the_config_has(entry):
    """And it names this config, and one of its variants."""
    text = ast.get_docstring(ast.parse(Path(entry.file).read_text())).replace("\\\n", "")
    (line,) = re.findall(r"^Command: xfm train (.*)$", text, re.MULTILINE)
    words, overrides = split_overrides(shlex.split(line))
    module, name, variant = find(words[0])
    assert name == entry.config and variant in entry.variants and words[1] == "--workdir" and len(words) == 3
    apply_overrides(module.get_config(variant), overrides)


def test_every_run_saves_and_evaluates_before_its_end():
    """But for the tiny ones, which take a minute."""
    runs = {one: config_of(*one) for one in VARIANTS if one[1] != "tiny"}
    assert [one for one, c in runs.items() if max(c.save_every, c.eval_every) >= c.steps] == []


@pytest.mark.parametrize("name", [name for name in NEEDS if "/finetune_" in name])
def test_fine_tuning_warms_up_over_a_tenth_and_saves_after_each_epoch(name):
    """Whatever the rows of a batch are."""
    for variant in next(entry.variants for entry in ENTRIES if entry.config == name):
        c = config_of(name, variant)
        assert c.schedule.warmup == c.steps // 10
        if variant != "tiny":
            assert c.eval_every == c.save_every and c.steps in (2 * c.save_every, 3 * c.save_every)


def words(config):
    """How many ids the tests draw from: 2048, or all where there are fewer."""
    return min(2048, network(config).vocab or 2048)


def real_batch(config, rows=2):
    """Random data of the shapes that the config's source has, of all texts of a row."""
    rng = np.random.default_rng(0)
    batch = {}
    for key, (shape, dtype) in build(SOURCES, plain(config.data)).row().items():
        _, _, name = key.rpartition("/")
        limit = {"tokens": words(config), "labels": config.objective.get("classes", 10), "types": 2}.get(name, 1)
        shape = (rows, *shape)
        numbers = rng.integers(0, limit, shape) if jnp.issubdtype(dtype, jnp.integer) else rng.normal(size=shape)
        if name == "labels" and len(shape) == 3:  # of pixels: one class for each image
            numbers = np.broadcast_to(numbers[:, :1, :1], shape)
        if name == "segments":
            numbers = np.broadcast_to(1 + (np.arange(shape[1]) > shape[1] // 2), shape).copy()
            numbers[:, -3:] = 0
        if name != "positions":
            batch[key] = np.ones(shape, dtype) if name == "weights" else np.asarray(numbers, dtype)
    if "labels" not in batch and "images" in batch:
        batch["labels"] = np.arange(rows) % 10
    return batch


# Softmax does not see what is added to all scores of a query, but for rounding.
UNSEEN = (("k", "bias"), ("k_global", "bias"), ("position", "down", "bias"))
UNSEEN += (("head_losses", "out", "bias"), ("decoder_inner_0", "norm", "bias"))  # nor a ranking, added to all scores
SMALL_LOSSES = (
    Clicks,
    ImageToImage,
    MaskedImages,
    LocalMaskedImages,
    MaskAlign,
    JointEmbedding,
)  # of normalised pixels or features, or of half the pixels' weight: of one at most, as they begin


@pytest.mark.parametrize("name", TINY)
def test_tiny_learns_with_all_its_parameters(name):
    """The loss is finite, every parameter has a gradient, and ten steps on one batch lower the loss.

    By a half, or by a tenth where it is the mean of small numbers (SMALL_LOSSES).
    """
    config = config_of(name, "tiny")
    vocabulary = dataclasses.replace(STANDING_IN, size=words(config))
    objective, batch, key = build_objective(config, vocabulary), real_batch(config), keys.key(1)
    params = drawn.values(checked(name, "tiny"), by=0)
    kept = {} if type(objective).init is Objective.init else drawn.values(drawn.shapes(objective.init, batch)[1], by=0)
    step = jax.jit(jax.value_and_grad(lambda params, batch: objective.loss(params, kept, batch, key)[0]))
    params, losses, largest = flatten_dict(jax.device_get(params)), [], {}
    for i in range(10):
        loss, gradients = step(unflatten_dict(params), batch)
        losses.append(float(loss))
        assert np.isfinite(loss), f"step {i}"
        size = 0.003 * (1 - i / 10)  # steps of one size would leap about where the loss is near 0, as EncT5's soon is
        for path, gradient in flatten_dict(jax.device_get(gradients)).items():  # by NumPy, which compiles nothing
            norm = np.sqrt(np.mean(np.square(gradient, dtype=np.float64)))
            params[path] = params[path] - np.float32(size / (norm + 1e-8)) * gradient
            largest[path] = max(norm, largest.get(path, 0))
    assert losses[-1] < losses[0] - (0.1 * losses[0] if type(objective) in SMALL_LOSSES else 0.5)
    for path, norm in largest.items():
        # Statistics are not trained.
        if path[-1] in ("mean", "variance", "share"):
            continue
        assert norm > (0 if path[-2:] in UNSEEN or path[-3:] in UNSEEN else 1e-9), "/".join(path)
