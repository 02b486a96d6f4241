"""Imports run downwards, and no two files import each other, at the top of a file or inside a function.

Nothing is imported: files are read as syntax trees, which takes a second.
"""

import ast
import functools
import itertools
from pathlib import Path

ROOT = Path(__file__).parent.parent

# The rooms of each floor may import those of the floors below, and one another only downwards as files.
FLOORS = (
    ("kernels",),
    ("errors", "fields", "moved", "outside", "spec", "memory"),
    ("vocabulary", "truncation", "context", "capture", "sown", "batch", "rows"),
    ("files", "folders", "locations", "paths", "sharding", "failures", "initial"),
    ("parts", "augment"),
    ("structures",),
    ("objectives", "evaluators", "transforms", "probes"),
    ("tokenizers", "images"),
    ("data",),
    ("configs",),
    ("hub",),
    ("train",),
    ("plan", "convert"),
    ("loading", "describe", "overrides", "catalogue", "listing"),
    ("cli", "__main__"),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def modules() -> dict[str, Path]:
    """Every module of the package, by its name."""
    found = {}
    for folder in ("xfm", "kernels", "configs"):
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            parts = parts if folder == "xfm" else ("xfm", *parts)
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imports(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """The package's modules that a file imports, anywhere in it, without what only type checkers read."""
    found, package = set(), name if path.name == "__init__.py" else name.rpartition(".")[0]
    tree = ast.parse(path.read_text())
    unread = {id(n) for t in ast.walk(tree) if _for_types(t) for n in ast.walk(t)}
    for node in ast.walk(tree):
        if id(node) in unread:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            found |= {full if (full := f"{source}.{alias.name}") in known else source for alias in node.names}
    return found & known.keys() - {name}


def _for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


@functools.cache
def graph() -> dict[str, set[str]]:
    """module -> the modules that it imports."""
    known = modules()
    return {name: imports(name, path, known) for name, path in known.items()}


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """The sets of two files or more that reach one another (Tarjan's strongly connected components)."""
    order, lowest, stack, found, count = {}, {}, [], [], itertools.count()

    def visit(name):
        order[name] = lowest[name] = next(count)
        stack.append(name)
        for other in edges[name]:
            if other not in order:
                visit(other)
                lowest[name] = min(lowest[name], lowest[other])
            elif other in stack:
                lowest[name] = min(lowest[name], order[other])
        if lowest[name] == order[name]:
            at = stack.index(name)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for name in edges:
        if name not in order:
            visit(name)
    return found


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def test_every_room_has_a_floor():
    assert {room(name) for name in modules()} - {""} <= FLOOR.keys()


def test_imports_run_downwards():
    upwards = [
        f"{name} imports {other}"
        for name, others in graph().items()
        for other in others
        if room(name) and (not room(other) or FLOOR[room(other)] > FLOOR[room(name)])
    ]
    assert not upwards


def test_no_two_files_import_each_other():
    assert not circles(graph())


def test_a_circle_and_an_import_inside_a_function_are_found(tmp_path):
    file = tmp_path / "a.py"
    file.write_text("def f():\n    from .b import g\n    import xfm.c\n")
    known = {"xfm.a": file, "xfm.b": file, "xfm.c": file}
    assert imports("xfm.a", file, known) == {"xfm.b", "xfm.c"}
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [["b", "c"]]


# Fields by which a spec names parts and layers. What another room must know of these, a part or a structure says by a
# method, such as `Structure.ids` and `Structure.layers`. (`heads` is a field of every structure, and free to be read.)
OF_SPECS = {
    "embed", "position", "mixer", "ffn", "norm", "norms", "residual", "sight", "down", "pattern", "prologue",
    "epilogue", "repeats", "loops", "stages", "blocks", "decoder", "before", "after", "part", "drop_path",
}  # fmt: skip
# A family of the Hub reads the spec that it wrote itself; configs change one another's; tokenisers know no network.
FREE = ("xfm.parts", "xfm.configs", "xfm.kernels", "xfm.hub.families", "xfm.hub.keys", "xfm.tokenizers")
NOT_SPECS = {"params", "made", "own", "kept", "state", "sublayer"}  # parameters, outputs, a Sublayer's own fields


def peeks(tree: ast.AST) -> list[str]:
    """Where a file asks a mapping for one of these fields, as `spec["embed"]` and `spec.get("embed")` do."""
    found = []
    for node in ast.walk(tree):
        key = node.slice if isinstance(node, ast.Subscript) else None
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
            key, node = next(iter(node.args), None), node.func
        if isinstance(key, ast.Constant) and key.value in OF_SPECS:
            root = node.value
            while isinstance(root, ast.Subscript | ast.Attribute | ast.Call):
                root = root.func if isinstance(root, ast.Call) else root.value
            if not isinstance(root, ast.Name) or root.id not in NOT_SPECS:
                found.append(f"line {node.lineno}: {ast.unparse(node)} {key.value}")
    return found


def test_no_room_looks_into_the_spec_of_another():
    found = {name: peeks(ast.parse(path.read_text())) for name, path in modules().items() if not name.startswith(FREE)}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_a_look_into_a_spec_is_found():
    lines = ('config["model"]["embed"].get("vocab")', '(spec or {}).get("pattern", ())', 'params["embed"]', "x.get(i)")
    assert [len(peeks(ast.parse(line))) for line in lines] == [1, 1, 0, 0]


def test_parts_have_one_way_to_make_a_parameter():
    """`param(self, …)`: of one that exists, `self.param(…)` traces the initialiser again."""
    files = [path for name, path in modules().items() if name.startswith("xfm.parts.") and path.stem != "param"]
    assert files and [path.name for path in files if ".param(" in path.read_text()] == []


MOST = 12  # arguments of a function, and of a class that the kernels pass around


def test_no_signature_is_long():
    long = []
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text())):
            count = 0
            if isinstance(node, ast.FunctionDef):
                count = sum(map(len, (node.args.posonlyargs, node.args.args, node.args.kwonlyargs)))
            elif isinstance(node, ast.ClassDef) and name.startswith("xfm.kernels"):
                count = sum(isinstance(field, ast.AnnAssign) for field in node.body)
            long += [f"{name}: {node.name} has {count}"] if count > MOST else []
    assert not long, f"more than {MOST} arguments: {'; '.join(long)}"
