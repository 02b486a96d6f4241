"""The notebooks, as they are committed: in step with their scripts, and run from top to bottom."""

import os

import nbformat
import pytest
from nbclient import NotebookClient

from tests.colab.pair import SCRIPTS, paired
from tests.conftest import CACHE
from tests.switches import PLAIN, UNOPTIMISED

NOTEBOOKS = [script.with_suffix(".ipynb") for script in SCRIPTS]
SMALL = dict(
    STEPS=200,
    WORKDIR="runs/small",
    CHANGES=[
        *("batch=16", "eval_every=200", "save_every=200", "log_every=50", "schedule.warmup=20"),
        *("eval_steps=8", "data.length=32", "data.max_bytes=400_000", "data.tokenizer.size=400"),
        *("model.embed.vocab=400", "model.heads.mlm.vocab=400", "model.repeats=1"),
        *("model.embed.width=64", "model.pattern.0.heads=2", "model.pattern.1.hidden=128"),
    ],
)
PARAMETERS = {"first_steps": {}, "pretrain": SMALL, "vision": dict(STEPS=80, TUNED=30)}


def cells(notebook):
    return [(c.cell_type, c.source, c.metadata.get("tags", [])) for c in notebook.cells]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_what_its_script_says(path):
    committed, made = nbformat.read(path, 4), paired(path.with_suffix(".py"))
    assert cells(committed) == cells(made), "run `python -m tests.colab.pair`"
    code = [cell for cell in committed.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code), "commit it without outputs"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_installing_changes_no_jax_and_asks_for_nothing(path):
    notebook = nbformat.read(path, 4)
    first = next(cell.source for cell in notebook.cells if cell.cell_type == "code")
    pip = [line for line in first.splitlines() if "pip install" in line]
    assert len(pip) == 1 and '"jax=={jax.__version__}"' in pip[0] and "-U" not in pip[0]
    assert 'if "google.colab" in sys.modules:' in first
    everything = "".join(cell.source for cell in notebook.cells)
    assert not any(word in everything for word in ("drive.mount", "userdata", "TOKEN", "login("))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path):
    """In a kernel of its own, which has one CPU device until the notebook says otherwise."""
    notebook, changes = nbformat.read(path, 4), dict(PARAMETERS[path.stem])
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            cell.source += "".join(f"\n{name} = {changes.pop(name)!r}" for name in list(changes))
    assert not changes, f"{path.name} has no cell tagged 'parameters'"
    env = {
        **os.environ,
        "XLA_FLAGS": " ".join([UNOPTIMISED, *PLAIN]),
        "JAX_COMPILATION_CACHE_DIR": str(CACHE),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3",
    }
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute(env=env)  # raises CellExecutionError, with the cell and its traceback
    (tmp_path / path.name).write_text(nbformat.writes(notebook))
