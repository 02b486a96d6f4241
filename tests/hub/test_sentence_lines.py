"""`xfm embed`: any number of lines, whatever the two ends are."""

import io
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from xfm.errors import XfmError

pytest.importorskip("tokenizers")

from xfm.hub import sentence  # noqa: E402
from xfm.hub.sentence.encoder import sentence_encoder  # noqa: E402
from xfm.hub.sentence.lines import count, embed_lines, lines  # noqa: E402

GOLDEN = pathlib.Path(__file__).parents[1] / "goldens" / "sentences" / "small.npz"
TEXTS = ["This is an example sentence", "", "naïve café, 日本語 and 😀", "def parse(self):", "a"] * 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    with np.load(GOLDEN) as file:
        for name in file.files:
            if name.startswith("file/"):
                path = folder / name.removeprefix("file/")
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(file[name].tobytes())
    return folder


@pytest.fixture(scope="module")
def encoder(folder):
    return sentence_encoder(folder)


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS), encoding="utf-8")  # the last line has no end
    return path


class Pipe(io.BytesIO):
    """Bytes without a beginning to go back to."""

    def seekable(self):
        return False

    def seek(self, *_):
        raise io.UnsupportedOperation("seek")


@pytest.mark.parametrize("into", ["file", "middle of a file", "appended", "pipe"])
@pytest.mark.parametrize("out_of", ["file", "pipe"])
def test_every_pair_of_ends(out_of, into, encoder, texts, tmp_path, monkeypatch):
    monkeypatch.setattr(sentence.encoder, "CHUNK", 4)
    path = tmp_path / "vectors.npy"
    path.write_bytes(b"before" if into != "file" else b"")
    modes = {"file": "wb", "middle of a file": "r+b", "appended": "ab"}
    with open(texts, "rb") as file, Pipe() if into == "pipe" else open(path, modes[into]) as target:
        if into == "middle of a file":
            target.seek(6)
        source = file if out_of == "file" else Pipe(file.read())
        assert embed_lines(encoder, source, target) == len(TEXTS)
        target.flush()
        made = target.getvalue() if into == "pipe" else path.read_bytes()
    made = made if into in ("file", "pipe") else made.removeprefix(b"before")
    np.testing.assert_allclose(np.load(io.BytesIO(made)), encoder.encode(TEXTS), rtol=0, atol=1e-6)


@pytest.mark.parametrize("precision", ["binary", "ubinary"])
def test_options(precision, encoder, tmp_path):
    source = Pipe("\n".join(TEXTS).encode() + b"\r\n")
    with open(tmp_path / "v.npy", "w+b") as target:
        embed_lines(encoder, source, target, precision=precision, truncate_dim=8, prompt_name="query")
        target.seek(0)
        made = np.load(target)
    np.testing.assert_array_equal(made, encoder.encode_query(TEXTS, truncate_dim=8, precision=precision))


def test_no_lines_at_all(encoder, tmp_path):
    with open(tmp_path / "v.npy", "w+b") as target:
        assert embed_lines(encoder, Pipe(b""), target, precision="ubinary") == 0
        target.seek(0)
        assert np.load(target).shape == (0, 2)


def test_lines_are_those_of_the_file(monkeypatch, tmp_path):
    monkeypatch.setattr(sentence.lines, "LINE", 10)
    raw = "a\r\n\n0123456789\n012345678\nabcdefgh\u00e9jklmnop\u00e9\n\u2028x\nend".encode()
    wanted = ["a", "", "0123456789", "012345678", "abcdefgh\u00e9", "\u2028x", "end"]
    assert list(lines(io.BytesIO(raw))) == wanted
    assert list(lines(io.BytesIO(b"012345678\xc3\xa9\nb"))) == ["012345678", "b"]
    (tmp_path / "raw").write_bytes(raw)
    with open(tmp_path / "raw", "rb") as file:
        assert count(file) == len(wanted) and file.tell() == 0
    assert count(Pipe(raw)) is None


def test_a_bad_line_is_named_and_what_was_made_is_kept(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(sentence.encoder, "CHUNK", 2)
    with open(tmp_path / "v.npy", "w+b") as target:
        with pytest.raises(XfmError, match="line 4 is not UTF-8 at byte 1"):
            embed_lines(encoder, Pipe(b"a\nb\nc\nd\xff\n"), target)
        target.seek(0)
        assert len(np.load(target)) == 2
    with pytest.raises(XfmError, match="needs all vectors at once"):
        embed_lines(encoder, Pipe(b"a\n"), Pipe(), precision="int8")


def test_memory_does_not_grow_with_the_lines(encoder, monkeypatch):
    seen = []

    def vectors(texts, tokens, skip):
        seen.append(sum(map(len, texts)))
        return np.zeros((len(texts), 16), np.float32)

    monkeypatch.setattr(encoder, "_vectors", vectors)
    monkeypatch.setattr(sentence.encoder, "CHARACTERS", 1000)
    assert sum(len(part) for part in encoder.stream("x" * (i % 400) for i in range(10_000))) == 10_000
    assert max(seen) < 1400 and sum(seen) == sum(i % 400 for i in range(10_000))


def test_the_command(folder, encoder, texts, tmp_path):
    command = [sys.executable, "-m", "xfm.cli", "embed", str(folder), "--prompt-name", "query", "--normalize"]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    with open(texts, "rb") as source, open(tmp_path / "v.npy", "wb") as target:
        done = subprocess.run(
            command, stdin=source, stdout=target, stderr=subprocess.PIPE, env=environment, timeout=300
        )
    assert done.returncode == 0 and b"15 vectors" in done.stderr, done.stderr
    wanted = encoder.encode_query(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(np.load(tmp_path / "v.npy"), wanted, rtol=0, atol=1e-6)
    done = subprocess.run(
        [*command[:5], "--prompt-name", "qery"], input=b"a\n", capture_output=True, env=environment, timeout=300
    )
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.startswith(b"xfm: prompt_name 'qery' does not exist") and done.stderr.count(b"\n") == 1
