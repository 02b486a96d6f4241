"""Running the command line in this process, a few documents to train on, and a run of them."""

import shutil
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

import pytest

from xfm.cli import main

TINY = "text/bert:tiny"
SMALL = [
    f"--config.{setting}"
    for setting in (
        "data.length=32",
        "data.validation=0.2",
        "data.tokenizer.size=200",
        "model.embed.vocab=200",
        "model.heads.mlm.vocab=200",
        "model.embed.width=16",
        "model.pattern.1.hidden=16",
        "model.repeats=1",
        "batch=8",
        "steps=2",
        "schedule.warmup=1",
    )
]
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


def written(folder):
    """A folder of 40 short texts."""
    folder.mkdir()
    for i in range(40):
        text = "\n".join(f"{SENTENCES[(i + j) % 2]} number {i * j}" for j in range(12))
        (folder / f"{i}.txt").write_text(text)
    return folder


@pytest.fixture
def documents(tmp_path):
    return written(tmp_path / "documents")


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory):
    """The workdir of a run of two steps that no test may change, its words, and what the command printed."""
    folder = tmp_path_factory.mktemp("trained")
    words = [TINY, *SMALL, f"--config.data.path={written(folder / 'documents')}"]
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        code = main(["train", "--workdir", str(folder / "run"), *words])
    assert code == 0, err.getvalue()
    return folder / "run", words, out.getvalue(), err.getvalue()


@pytest.fixture
def trained(trained_once, tmp_path):
    """A copy of that run."""
    return shutil.copytree(trained_once[0], tmp_path / "run", symlinks=True)
