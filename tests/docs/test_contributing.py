"""CONTRIBUTING.md, done as it says: the part and the config are read from the page and held to the suites."""

import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xfm
from tests.configs.test_configs import shapes_of, size
from tests.docs.pages import ROOT, block
from tests.drawn import drawn
from tests.evaluators import test_evaluators
from tests.objectives import test_rows
from tests.parts import examples, formulas, test_owed, test_starts
from tests.parts.formulas import FORMULAS
from tests.parts.starts import STARTS
from tests.structures import examples as networks
from tests.structures import test_layers, test_structures
from xfm.catalogue import find
from xfm.cli import main
from xfm.evaluators import EVALUATORS
from xfm.objectives import OBJECTIVES
from xfm.parts.norm import NORMS
from xfm.sharding import RULES, rule_of
from xfm.structures import STRUCTURES
from xfm.train.logs import read_metrics

PAGE = "CONTRIBUTING.md"
PART, CONFIG = "xfm/parts/norm/dyt.py", "configs/vision/dyt.py"
STRUCTURE = "xfm/structures/averaging.py"
OBJECTIVE, EVALUATOR = "xfm/objectives/sentence_order.py", "xfm/evaluators/calibration.py"


def entry(marker, names):
    """The key and value of the one line that a table is given."""
    (item,) = eval("{" + block(PAGE, marker) + "}", names).items()
    return item


@pytest.fixture
def part(monkeypatch):
    """Steps 1 to 3: the module exists, and the tables know it."""
    module = types.ModuleType("xfm.parts.norm.dyt")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(block(PAGE, f"file: {PART}"), module.__dict__)
    monkeypatch.setitem(NORMS, *entry("line: NORMS", vars(module)))
    monkeypatch.setitem(examples.EXAMPLES["norm"], *entry('line: EXAMPLES["norm"]', {}))
    return "dyt"


@pytest.fixture
def config(part, tmp_path):
    """Step 5: the path of the config."""
    path = tmp_path / "dyt.py"
    path.write_text(block(PAGE, f"file: {CONFIG}"))
    return path


@pytest.mark.parametrize("file", [PART, CONFIG, STRUCTURE, OBJECTIVE, EVALUATOR])
@pytest.mark.parametrize("command", [("check",), ("format", "--check")], ids=lambda c: c[0])
def test_the_style_is_kept(file, command):
    words = [sys.executable, "-m", "ruff", *command, "--stdin-filename", file, "-"]
    code = block(PAGE, f"file: {file}")
    found = subprocess.run(words, input=code, capture_output=True, text=True, cwd=ROOT)
    assert found.returncode == 0, found.stdout + found.stderr


def test_without_an_example_the_suite_fails(part, monkeypatch):
    monkeypatch.delitem(examples.EXAMPLES["norm"], part)
    with pytest.raises(AssertionError, match="norm 'dyt' has no example"):
        test_owed.of("norm", part, 0)


def test_the_suite_accepts_the_part(part, monkeypatch):
    """With the formula of step 4; and without it, or with another one, it does not."""
    assert len(examples.EXAMPLES["norm"][part]) == 2
    names = dict(vars(formulas))
    exec(block(PAGE, "formula: dyt"), names)
    for number in range(2):
        monkeypatch.delitem(FORMULAS["norm"], part, raising=False)
        with pytest.raises(AssertionError, match="norm 'dyt' has no formula"):
            test_owed.test_formula("norm", part, number)
        monkeypatch.setitem(FORMULAS["norm"], part, FORMULAS["norm"]["rmsnorm"])
        with pytest.raises((AssertionError, AttributeError)):
            test_owed.test_formula("norm", part, number)
        monkeypatch.setitem(FORMULAS["norm"], *entry('line: FORMULAS["norm"]', names))
        with pytest.raises(AssertionError, match="norm/dyt/alpha is not declared"):
            test_starts.test_start("norm", part, number)
        (rule,) = eval(f"[{block(PAGE, 'line: STARTS')}]")
        with monkeypatch.context() as declared:
            declared.setattr(test_starts, "STARTS", (rule, *STARTS))
            test_starts.test_start("norm", part, number)
        for test in (test_owed.test_formula, test_owed.test_dtype, test_owed.test_gradients):
            test("norm", part, number)


def test_a_stack_takes_the_part_wherever_a_norm_stands(part):
    """Under scan, with a gradient for each parameter; the part needs no change elsewhere."""
    norm = dict(kind=part)
    model = xfm.build(
        dict(
            kind="stack",
            embed=dict(kind="tokens", vocab=13, width=16, norm=norm),
            pattern=[dict(kind="attention", heads=2, qk_norm=norm), dict(kind="mlp", hidden=24)],
            repeats=2,
            norms={"in": norm, "residual": norm, "out": norm},
            norm=norm,
        )
    )
    batch = {"tokens": jnp.arange(22).reshape(2, 11) % 13}
    params = drawn(model, batch)["params"]
    weights = jax.random.normal(jax.random.key(1), (2, 11, 16))

    @jax.jit
    @jax.grad
    def gradient(params):
        return (weights * model.apply({"params": params}, batch)["hidden"]).sum()

    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(params)):
        if "['k']['bias']" not in jax.tree_util.keystr(path):
            assert jnp.isfinite(leaf).all() and jnp.abs(leaf).max() > 0, jax.tree_util.keystr(path)


def test_the_config_has_its_sizes_and_shards(config):
    module, _, default = find(str(config))
    assert default == "B/16" and module.PAPER and module.ORACLE and "tiny" in module.VARIANTS
    for variant in module.VARIANTS:
        params = shapes_of(xfm.load_config(f"{config}:{variant}"))
        assert variant not in module.PARAMETERS or size(params) == module.PARAMETERS[variant]
        assert all(rule_of(path, rules) is not None for rules in RULES.values() for path in params)


def test_the_config_trains(config, tmp_path):
    """By the command of step 6, cut short; it tells digits apart better than by guessing."""
    few = "steps=120 batch=32 eval_every=120 save_every=120 model.repeats=1"
    few += " schedule.warmup=20 schedule.peak=0.01 objective.mixup=0.0"
    words = [f"--config.{change}" for change in few.split()]
    assert main(["train", f"{config}:tiny", "--workdir", str(tmp_path / "run"), *words]) == 0
    valid = [line for line in read_metrics(tmp_path / "run") if line["kind"] == "valid"]
    assert len(valid) == 1 and valid[0]["loss"] < 2.1  # ten classes: a guess scores ln 10 = 2.303


def made(file, monkeypatch):
    """The names of a file of the page, which is then a module of the package."""
    module = types.ModuleType(file.removesuffix(".py").replace("/", "."))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(block(PAGE, f"file: {file}"), module.__dict__)
    return vars(module)


def test_the_suite_accepts_the_structure(monkeypatch):
    kind = "averaging"
    names = made(STRUCTURE, monkeypatch)
    monkeypatch.setitem(STRUCTURES, kind, names["Averaging"])
    with pytest.raises(AssertionError, match="structure 'averaging' has no example"):
        test_structures.network(kind)
    monkeypatch.setitem(networks.NETWORKS, *entry("line: NETWORKS of structures", vars(networks)))
    test_layers.test_layers_are_where_the_parameters_are(kind)
    test_structures.test_every_parameter_has_a_gradient_which_recomputation_keeps(kind)
    test_structures.test_parts_compute_in_the_dtype_that_is_asked_for(kind)
    test_structures.test_without_training_the_answer_is_the_same_whatever_drops(kind)
    model = xfm.build(dict(kind=kind, embed=networks.EMBED, pattern=[networks.MLP]))
    with pytest.raises(xfm.XfmError, match="row 0 holds several texts"):
        model.init(jax.random.key(0), {"tokens": np.ones((1, 4), int), "segments": np.array([[1, 1, 2, 2]])})


def test_the_suite_accepts_the_objective(monkeypatch):
    monkeypatch.setitem(OBJECTIVES, "sentence_order", made(OBJECTIVE, monkeypatch)["SentenceOrder"])
    with pytest.raises(AssertionError):
        test_rows.test_every_objective_has_an_example()
    monkeypatch.setitem(test_rows.EXAMPLES, *entry("line: EXAMPLES of objectives", vars(test_rows)))
    test_rows.test_every_objective_has_an_example()
    test_rows.test_rows_that_fill_a_batch_count_nothing("sentence_order")
    test_rows.test_two_microbatches_have_the_gradient_of_the_whole("sentence_order")


def test_the_suite_accepts_the_evaluator_which_counts_by_the_formula(monkeypatch):
    names = made(EVALUATOR, monkeypatch)
    monkeypatch.setitem(EVALUATORS, "calibration", names["Calibration"])
    kind, examples = entry("line: EXAMPLES of evaluators", {})
    with pytest.raises(AssertionError):
        test_evaluators.test_every_evaluator_has_an_example()
    test_evaluators.test_eight_devices_find_what_one_finds(kind, *examples[0])
    sure, right = np.array([0.6, 0.7, 0.9, 0.95]), np.array([True, False, True, True])  # in bins of 0.5 and 0.25
    monkeypatch.setitem(names, "predict", lambda *inputs: (sure, right))
    found = names["Calibration"](bins=4).run(None, None, None, types.SimpleNamespace(valid=None), None)
    assert found["calibration_error"] == pytest.approx((abs(0.65 - 0.5) * 2 + abs(0.925 - 1.0) * 2) / 4)
