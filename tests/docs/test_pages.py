"""What the pages say holds: the example runs, commands parse, links lead somewhere, table and figure can be made."""

import ast
import itertools
import re
import shlex
import subprocess
import sys
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import pytest

import xfm
from tests.docs import house, table
from tests.docs.pages import PAGES, ROOT, block, commands, read
from xfm.cli import parser, split_overrides
from xfm.evaluators import EVALUATORS
from xfm.spec import plain
from xfm.structures import STRUCTURES
from xfm.transforms import TRANSFORMS


def test_the_functional_example_runs():
    names = {}
    exec(block("README.md", "example: functional"), names)
    depth, (B, T) = names["config"].model.repeats, names["batch"]["tokens"].shape
    assert names["out"]["hidden"].shape == (B, T, 128) and names["out"]["mlm"].shape == (B, T, 1024)
    assert {path: a.shape for path, a in names["seen"].items()} == {
        "layers/attention_0/part": (depth, B, T, 128),
        "layers/mlp_1/part": (depth, B, T, 128),
    }
    assert abs(float(names["loss"]) - jnp.log(1024)) < 1  # a fresh network knows nothing
    assert int(names["state"].step) == 1 and float(names["metrics"]["skipped"][0]) == 0
    moved = jax.tree.map(lambda a: bool(jnp.isfinite(a).all()), names["state"].params)
    assert all(jax.tree.leaves(moved))


def test_the_example_is_short():
    lines = block("README.md", "example: functional").splitlines()
    assert len([line for line in lines if line and not line.startswith(("import", "vocabulary"))]) <= 11


def test_the_figure_can_be_drawn():
    """It names each slot, objective, evaluator, transform and structure; the committed one is of the last release."""
    words = "".join(ElementTree.fromstring(house.drawn()).itertext())
    tables = (xfm.parts.SLOTS, xfm.objectives.OBJECTIVES, EVALUATORS, TRANSFORMS, STRUCTURES)
    assert all(name in words for table in tables for name in table)
    assert ElementTree.parse(house.FILE).getroot().tag.endswith("svg")


def test_the_table_names_everything():
    """Each kind of each slot, each config and each test against another implementation."""
    made = table.table()
    kinds = [kind for kinds in xfm.parts.SLOTS.values() for kind in kinds]
    assert all(f"`{kind}`" in made for kind in kinds)
    assert all(path.exists() for path in (ROOT / link for link in links(made)))
    assert all((table.FILE.parent / link).exists() for link in links(table.page()))
    found = table.enumerating_tests()
    assert all(found.values()), f"no suite runs over {[name for name, all in found.items() if not all]}"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for link in links(read(page)):
        assert ((ROOT / page).parent / link).exists(), f"{page} links to {link}, which does not exist"


def links(markdown):
    """The files that a page links to; code is not read."""
    found = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```", "", markdown, flags=re.DOTALL | re.MULTILINE))
    return [link.split("#")[0] for link in found if not link.startswith(("http", "#", "mailto:"))]


XFM = [line for page in PAGES for line in commands(page) if line.startswith("xfm ")]
OF_THE_EXAMPLE = ("configs/vision/dyt.py", "my_transforms")  # a config and a module that only CONTRIBUTING.md has


@pytest.mark.parametrize("line", dict.fromkeys(XFM))
def test_commands_parse(line):
    """And where they name a config, it exists and accepts what is set."""
    said = itertools.takewhile(lambda word: word not in "<>|", shlex.split(line, comments=True)[1:])
    words, overrides = split_overrides(list(said))
    overrides = [one for one in overrides if not one.startswith("start.source=")]  # it would be fetched
    arguments = parser().parse_args(words)
    if hasattr(arguments, "config") and not any(name in line for name in OF_THE_EXAMPLE):
        config = xfm.load_config(arguments.config, overrides)
        for override in overrides:
            path, _, value = override.partition("=")
            found = plain(config)
            for key in path.split("."):
                found = found[int(key) if isinstance(found, list) else key]
            assert found in (value, literal(value))


def literal(text):
    """The Python literal that a value is written as, None for any other text."""
    try:
        return plain(ast.literal_eval(text))
    except (ValueError, SyntaxError):
        return None


@pytest.mark.parametrize("which", ["main", "test"])
def test_both_commands_stand_where_they_are_looked_for(which):
    """In the first block after their markers: an installation from the clone, then one command."""
    found = re.search(rf"<!--\s*run:\s*{which}\s*-->\s*\n+```[a-z]*\n(.*?)```", read("README.md"), re.S)
    install, run = found[1].splitlines()
    assert install.startswith("pip install") and '-e ".[' in install
    assert run.startswith("xfm train configs/text/bert.py:tiny" if which == "main" else "python -m pytest")


def test_importing_xfm_starts_nothing():
    """No backend, and none of what is heavy or optional; yet all that is public is there."""
    script = """
import sys, xfm
heavy = "matplotlib tokenizers tensorflow tensorflow_datasets grain orbax optax PIL sklearn torch transformers"
print([name for name in heavy.split() if name in sys.modules])
import jax._src.xla_bridge as bridge
print(bridge._backends)
print([name for name in xfm.__all__ if getattr(xfm, name, None) is None])
print(bridge._backends)
"""
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert out.stdout.split() == ["[]", "{}", "[]", "{}"], out.stdout + out.stderr


def test_the_public_names_are_few_and_the_page_of_them_short():
    assert len(set(xfm.__all__)) == len(xfm.__all__) <= 24
    assert len(read("xfm/__init__.py").splitlines()) < 80
    with pytest.raises(AttributeError, match="no attribute 'bild'"):
        xfm.bild  # noqa: B018
