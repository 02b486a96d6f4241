"""Running the command line in this process, and a few documents to train on."""

import pytest

from xfm.cli import main

SENTENCES = ("the quick brown fox jumps over the lazy dog", "pack my box with five dozen jugs")


@pytest.fixture
def run(capsys):
    """run(*words) -> (exit code, standard output, standard error)."""

    def run(*words):
        capsys.readouterr()
        code = main([str(word) for word in words])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def refused(run):
    """refused(*words) -> the one sentence of a command that ends with exit code 2."""

    def refused(*words):
        code, out, err = run(*words)
        assert code == 2 and not out, (code, out, err)
        assert err.startswith("xfm: ") and err.count("\n") == 1 and "Traceback" not in err, err
        return err

    return refused


@pytest.fixture
def documents(tmp_path):
    """A folder of 40 short texts."""
    folder = tmp_path / "documents"
    folder.mkdir()
    for i in range(40):
        text = "\n".join(f"{SENTENCES[(i + j) % 2]} number {i * j}" for j in range(12))
        (folder / f"{i}.txt").write_text(text)
    return folder
