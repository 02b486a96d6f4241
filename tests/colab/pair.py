"""The notebooks of colab/ are written as scripts; this makes the .ipynb of each, without outputs.

python -m tests.colab.pair
"""

from pathlib import Path

import jupytext
import nbformat

COLAB = Path(__file__).parents[2] / "colab"
SCRIPTS = sorted(COLAB.glob("*.py"))


def paired(script: Path) -> nbformat.NotebookNode:
    """The notebook of a script in the percent format; cells are numbered, so that a diff stays small."""
    notebook = jupytext.read(script)
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"]}
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
    return notebook


def main() -> None:
    for script in SCRIPTS:
        nbformat.write(paired(script), script.with_suffix(".ipynb"))


if __name__ == "__main__":
    main()
