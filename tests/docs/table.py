"""The table of what works, made from the library's own tables and from the tests that run over them.

python -m tests.docs.table      writes it to docs/works.md, at a release

It is not kept current in between, so that two papers that are added at once touch no common file.
"""

import ast
import importlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from tests.parts.examples import EXAMPLES
from xfm import __version__
from xfm.catalogue import Entry, entries
from xfm.data import SOURCES
from xfm.evaluators import EVALUATORS
from xfm.hub.families import FAMILIES
from xfm.objectives import OBJECTIVES
from xfm.parts import SLOTS
from xfm.sharding import RULES
from xfm.structures import STRUCTURES
from xfm.tokenizers import TOKENIZERS
from xfm.train.optimiser import OPTIMISERS
from xfm.train.schedules import SCHEDULES

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docs" / "works.md"
HEAD = """# What works

This page was written by `python -m tests.docs.table`, from the code and its tests, for version {version}. What has come
since is in the [changelog](../CHANGELOG.md), and `xfm list --papers` prints what the installed version has.

"""
# Tests that some implementations of an operation have beside those of all.
MORE_OF = {"attention": {"`tpu`": ("test_tpu.py", "test_tpu_compile.py"), "`hopper`, `cudnn`": ("test_hopper.py",)}}
ENUMERATORS = ("examples", "entries")  # calls that list all parts of a slot, and all configs


def table() -> str:
    """Markdown; links start at the top of the repository."""
    suites = enumerating_tests()
    parts = [
        (slot, code(kinds), f"{checks(suites[slot])} on {sum(map(len, EXAMPLES[slot].values()))} examples")
        for slot, kinds in SLOTS.items()
    ]
    configs = [
        (f"[{one.config}](configs/{one.config}.py)", one.paper, variants(one), sizes(one), one.oracle)
        for one in entries()
    ]
    others = {
        "structures": STRUCTURES,
        "objectives": OBJECTIVES,
        "evaluators": EVALUATORS,
        "data": SOURCES,
        "tokenisers": TOKENIZERS,
        "optimisers": OPTIMISERS,
        "schedules": SCHEDULES,
        "shardings": RULES,
    }
    return "\n\n".join(
        [
            "**Networks.** Each is a config with its recipe; " + checks(suites["configs"]) + " run over all of them.",
            grid(("config", "paper", "variants", "parameters", "what proves it"), configs),
            "**Parts.** One slot per row; the checks run over the whole row.",
            grid(("slot", "kinds", "checked by"), parts),
            "**Checkpoints of the Hub**, loaded and written back; each case is compared with transformers, each head, "
            "layer, gradient and saved tensor, by [test_parity](tests/hub/test_parity.py).",
            grid(("model_type", "heads", "cases"), families()),
            "**Kernels.** `naive` is the definition, to which the checks hold the others.",
            grid(("operation", "implementations", "checked by"), kernels()),
            "**The rest.** " + "; ".join(f"{name} {code(kinds)}" for name, kinds in others.items()) + ".",
            "**Equal to other people's code**, weights copied, float32, to 1e-5 of the largest number: "
            + ", ".join(parity()) + ".",
        ]
    )  # fmt: skip


def page() -> str:
    """The whole file; its links start in docs/."""
    return HEAD.format(version=__version__) + re.sub(r"\]\((?=configs/|tests/)", "](../", table()) + "\n"


def grid(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def link(path: Path) -> str:
    return f"[{path.stem}]({path.relative_to(ROOT).as_posix()})"


def checks(found: Sequence[tuple[Path, str]]) -> str:
    """`6 checks of [test_mixers](…)`."""
    files = dict.fromkeys(path for path, _ in found)
    return f"{len(found)} check{'s' * (len(found) > 1)} of {', '.join(map(link, files))}"


def variants(entry: Entry) -> str:
    first = list(dict.fromkeys(["tiny", entry.default, *entry.variants]))
    shown = code(first[:3])
    return shown if len(first) <= 3 else f"{shown}, … ({len(first)})"


def sizes(entry: Entry) -> str:
    """Exact counts, as the tests have them: of the default variant or the first counted, and the range of all."""
    known = entry.parameters
    if not known:
        return "none published"
    text = f"{known.get(entry.default, next(iter(known.values()))):,}"
    if len(known) > 1:
        low, high = min(known.values()), max(known.values())
        text += f" ({len(known)} sizes, {low / 1e6:,.1f}M to {high / 1e6:,.1f}M)"
    return text


def kernels() -> list[tuple[str, str, str]]:
    rows = []
    for folder in sorted(path.parent for path in (ROOT / "kernels").glob("*/naive.py")):
        names = importlib.import_module(f"xfm.kernels.{folder.name}").IMPLEMENTATIONS
        tests = sorted((ROOT / "tests" / "kernels").glob(f"test_{folder.name}*.py"))
        rows.append(
            (f"`{folder.name}`", code(names), checks([(file, t.name) for file in tests for t in tests_in(file)]))
        )
        for own, files in MORE_OF.get(folder.name, {}).items():
            tests = [ROOT / "tests" / "kernels" / file for file in files]
            rows.append(("", f"{own}, also", checks([(file, t.name) for file in tests for t in tests_in(file)])))
    return rows


def families() -> list[tuple[str, str, str]]:
    """A family of checkpoints, its heads, and how many reference models of it have a golden."""
    cases = Counter(
        json.loads(str(np.load(path)["config"]))["model_type"] for path in (ROOT / "tests/goldens/hub").glob("*.npz")
    )
    heads = {kind: [*f.heads, *(one for t in f.towers.values() for one in t.heads)] for kind, f in FAMILIES.items()}
    return [(f"`{kind}`", code(heads[kind]), str(cases[kind])) for kind in FAMILIES]


def parity() -> list[str]:
    """`[bert equals transformers](…)` for each test against another implementation."""
    found = []
    for file in sorted((ROOT / "tests" / "parity").glob("test_*.py")):
        for test in tests_in(file):
            words = test.name.removeprefix("test_").replace("_", " ")
            found.append(f"[{words}]({file.relative_to(ROOT).as_posix()})")
    return found


def tests_in(file: Path) -> list[ast.FunctionDef]:
    body = ast.parse(file.read_text()).body
    return [node for node in body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]


def enumerating_tests() -> dict[str, list[tuple[Path, str]]]:
    """slot, or "configs" -> (file, name) of each test that is parametrised over all that it holds."""
    found: dict[str, list] = {name: [] for name in (*SLOTS, "configs")}
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        listed: dict[str, set[str]] = {}  # name in the module -> what its value enumerates
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                listed[node.targets[0].id] = _enumerated(node.value, listed)
            elif isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                over = set().union(*(_enumerated(d, listed) for d in node.decorator_list))
                for what in over & set(found):
                    found[what].append((file, node.name))
    return found


def _enumerated(node: ast.AST, listed: dict[str, set[str]]) -> set[str]:
    """The slots, or "configs", whose members an expression lists without leaving any out."""
    if isinstance(node, ast.Name):
        return listed.get(node.id, set())
    if isinstance(node, ast.comprehension) and node.ifs:
        return set()
    if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "every_example":
        return set(SLOTS)
    if isinstance(node, ast.Call) and getattr(node.func, "id", None) in ENUMERATORS:
        return {node.args[0].value} if node.args else {"configs"}
    return set().union(*(_enumerated(inner, listed) for inner in ast.iter_child_nodes(node)))


if __name__ == "__main__":
    FILE.write_text(page())
