"""Parts, structures, objectives, sources and configs that live in a folder outside the package, by "module:Class"."""

import json
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xfm
from xfm.cli import main
from xfm.describe import describe
from xfm.errors import XfmError
from xfm.objectives import OBJECTIVES
from xfm.objectives.corruption import units_of
from xfm.outside import owed
from xfm.parts import SLOTS
from xfm.spec import SpecError, build
from xfm.structures import STRUCTURES
from xfm.train.record import read_record
from xfm.transforms import TRANSFORMS
from xfm.transforms.redraw import redraw
from xfm.vocabulary import Vocabulary

PARTS = '''
import dataclasses

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from xfm.data import Data
from xfm.data.source import Arrays
from xfm.objectives.classification import Classification
from xfm.structures.stack import Stack
from xfm.vocabulary import Vocabulary

LOSSES = []


class Echo(nn.Module):
    """W of the token before, within segments."""

    gain: float = 1.0

    @nn.compact
    def __call__(self, x, ctx, state=None):
        before = jnp.pad(ctx.clean(x), ((0, 0), (1, 0), (0, 0)))[:, :-1]
        return self.gain * nn.Dense(x.shape[-1], name="echo")(before), state


class Tower(Stack):
    """A stack by another name."""


@dataclasses.dataclass(frozen=True)
class Noted(Classification):
    """Classification that notes each trace of its loss."""

    def loss(self, *args, **more):
        LOSSES.append(self.classes)
        return super().loss(*args, **more)


@dataclasses.dataclass(frozen=True)
class Letters:
    """Rows of eight random ids, labelled by the first."""

    rows: int = 16

    def row(self):
        return {"tokens": ((8,), np.int32), "segments": ((8,), np.int32), "labels": ((), np.int32)}

    def open(self, workdir):
        tokens = np.random.default_rng(0).integers(5, 12, (self.rows, 8)).astype(np.int32)
        arrays = {"tokens": tokens, "segments": np.ones_like(tokens), "labels": (tokens[:, 0] > 8).astype(np.int32)}
        words = Vocabulary(size=12, pad=0, unknown=1, cls=2, sep=3, mask=4, special=(0, 1, 2, 3, 4))
        return Data(Arrays(arrays), Arrays(arrays), None, words, fingerprint="letters")


def pairs(tokens, vocabulary, rng, width: int = 2):
    return jnp.broadcast_to(jnp.arange(tokens.shape[1]) // width, tokens.shape)


def sevens(key, shape, *, value: float):
    return jnp.full(shape, 7.0 * value)


class Still(nn.Module):
    """No `__call__`."""


class Plain:
    def __call__(self, x, ctx, state=None):
        return x, state


@dataclasses.dataclass(frozen=True)
class Named(Letters):
    name: str = "letters"


@dataclasses.dataclass(frozen=True)
class Bare:
    """An objective without the fields that xfm gives."""

    def loss(self): ...
    def init(self): ...
    def terms(self): ...
    def baseline(self): ...
    def evaluated_in(self): ...
'''

CONFIG = """
VARIANTS = ("tiny", "deep")


def get_config(arg="tiny"):
    echo, mlp = dict(kind="my_parts_{n}:Echo", gain=0.5), dict(kind="mlp", hidden=16)
    label = dict(kind="classification", classes=2, pool=dict(kind="mean"))
    embed = dict(kind="tokens", vocab=12, width=8)
    return dict(
        model=dict(
            kind="my_parts_{n}:Tower", embed=embed, pattern=[echo, mlp], repeats=2 if arg == "deep" else 1,
            heads=dict(label=label),
        ),
        objective=dict(kind="my_parts_{n}:Noted", classes=2),
        optimiser=dict(kind="adamw"), schedule=dict(kind="constant", peak=0.01),
        data=dict(kind="my_parts_{n}:Letters", rows=16), batch=8, steps=2, eval_every=2, save_every=2,
    )
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with a module of parts and a config, which is the current one; the module's name is its own."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "my_parts_1.py").write_text(textwrap.dedent(PARTS))
    (folder / "my_config.py").write_text(CONFIG.replace("{n}", "1"))
    (folder / "broken_parts.py").write_text("import a_module_that_nobody_has\n")
    (folder / "clashing_parts.py").write_text("import flax.linen as nn\nclass Two(nn.Module):\n    name: int\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", [one for one in sys.path if one])
        yield folder


def test_a_project_outside_trains_evaluates_resumes_and_loads(project, capsys):
    before = list(sys.path)
    assert main(["train", "my_config.py", "--workdir", "run", "--config.model.pattern.0.gain=0.25"]) == 0
    assert sys.path == before
    parts = sys.modules["my_parts_1"]
    assert parts.LOSSES  # the objective is ours
    kept = read_record(project / "run").config
    assert kept["name"] == "my_config:tiny" and kept["model"]["kind"] == "my_parts_1:Tower"
    assert kept["model"]["pattern"][0] == dict(kind="my_parts_1:Echo", gain=0.25)
    assert [kept[key]["kind"] for key in ("objective", "data")] == ["my_parts_1:Noted", "my_parts_1:Letters"]
    capsys.readouterr()

    (project / "my_config.py").rename(project / "moved.py")  # a run does not need the file that it came from
    sys.modules.pop("my_parts_1")  # nor what this process imported before
    assert main(["eval", "run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["step"] == 2

    opened = xfm.load("run")
    ids = np.array([[5, 6, 7, 8, 9, 10, 11, 5]], np.int32)
    shown = opened(ids)
    assert shown["sequence_classification"].shape == (1, 2) and "echo" in opened.params["layers"]["echo_0"]["part"]
    assert main(["convert", "run", "there"]) == 2
    assert "no family of the Hub that xfm can write has this network" in capsys.readouterr().err

    more = ["train", "moved.py:tiny", "--workdir", "run", "--config.model.pattern.0.gain=0.25", "--config.steps=4"]
    assert main([*more, "--config.name=my_config:tiny"]) == 0
    assert main(["eval", "run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["step"] == 4


def test_describe_shows_a_part_from_outside_as_one(project):
    (project / "again.py").write_text(CONFIG.replace("{n}", "1"))
    from xfm.catalogue import load

    found = {part.kind: part for part in describe(load("again.py:deep")).parts}
    echo = found["my_parts_1:Echo"]
    assert (echo.parameters, echo.repeats, echo.flops) == (2 * 72, 2, 2 * 2 * 8 * 8 * 8)


def test_functions_from_outside(project):
    words = Vocabulary(size=12, pad=0, unknown=1, cls=2, sep=3, mask=4, special=(0, 1, 2, 3, 4))
    rows, key = jnp.zeros((1, 6), jnp.int32), jax.random.key(0)
    assert units_of(dict(kind="my_parts_1:pairs", width=3), rows, words, key).tolist() == [[0, 0, 0, 1, 1, 1]]
    drawn = redraw({"a": jnp.zeros(2)}, [("a", dict(kind="my_parts_1:sevens", value=2.0))], key)
    assert drawn["a"].tolist() == [14.0, 14.0]
    with pytest.raises(SpecError, match=r"takes 3 positional arguments, but is called with 2"):
        redraw({"a": jnp.zeros(2)}, [("a", dict(kind="my_parts_1:pairs"))], key)
    with pytest.raises(SpecError, match="does not fit slot .*: Python does not know its arguments; wrap it"):
        redraw({"a": jnp.zeros(2)}, [("a", dict(kind="builtins:max"))], key)


MISTAKES = {
    "no module": ("mixer", dict(kind="nowhere.parts:Echo"), "no module 'nowhere' for the kind .* in .*run xfm in"),
    "no class": ("mixer", dict(kind="my_parts_1:Ecko"), r"has no 'Ecko' \(did you mean 'Echo'\?\)"),
    "broken": ("mixer", dict(kind="broken_parts:X"), "'broken_parts' .*ModuleNotFoundError.*'a_module_that_nobody"),
    "a reserved field": ("mixer", dict(kind="clashing_parts:Two"), "'clashing_parts' .*cannot be imported: .*name"),
    "no method": ("mixer", dict(kind="my_parts_1:Still"), "Still' does not fit slot 'mixer': it has no method"),
    "no module of Flax": ("norm", dict(kind="my_parts_1:Plain"), r"fit slot 'norm': it is not a flax\.linen\.Module"),
    "no door": ("position", dict(kind="my_parts_1:Echo"), "does not fit slot 'position': it has no method add, bias"),
    "a function": ("ffn", dict(kind="my_parts_1:pairs"), "fit slot 'ffn': it is a function, but must be a class"),
    "no field": ("mixer", dict(kind="my_parts_1:Echo", gian=1.0), r"has no field 'gian' \(did you mean 'gain'\?\)"),
    "a wrong value": ("mixer", dict(kind="my_parts_1:Echo", gain="loud"), "gain is 'loud'; it must be a number"),
    "no objective": (OBJECTIVES, dict(kind="my_parts_1:Letters"), "does not fit slot 'objective': it has no method "),
    "a field that a spec cannot set": ("data", dict(kind="my_parts_1:Named"), "its field 'name' needs another name"),
    "what xfm gives": (OBJECTIVES, dict(kind="my_parts_1:Noted", classes=2, model=1), "model cannot be set by a spec"),
    "no room for it": (OBJECTIVES, dict(kind="my_parts_1:Bare"), "has no field 'model', which xfm sets; declare it"),
}  # fmt: skip


@pytest.mark.parametrize("slot,spec,words", MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_one_sentence(slot, spec, words, project):
    from xfm.data import SOURCES

    given = dict(model=None) if slot is OBJECTIVES else {}
    with pytest.raises(XfmError, match=words) as error:
        build(SOURCES if slot == "data" else slot, spec, **given)
    assert "\n" not in str(error.value)


def test_a_part_is_not_found_from_another_folder(project, tmp_path, monkeypatch, capsys):
    (project / "only_here.py").write_text("from my_parts_1 import Echo\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match=f"no module 'only_here' .*{tmp_path}; run xfm in the folder that holds it"):
        build("mixer", dict(kind="only_here:Echo"))


def test_what_a_class_owes_is_read_off_its_table():
    found = {slot: owed(list(table.values())) for slot, table in SLOTS.items()}
    assert found["position"] >= {"add", "rotate", "bias"}
    assert {slot for slot, methods in found.items() if methods == {"__call__"}} == {*SLOTS} - {"position", "stem"}
    assert found["stem"] == {"__call__", "step"}
    assert owed(list(STRUCTURES.values())) == {"__call__", "sublayers"}
    assert owed(list(TRANSFORMS.values())) == {"start"}
    assert owed(list(OBJECTIVES.values())) >= {"loss"}
