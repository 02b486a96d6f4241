"""Which files a folder holds: links are followed, loops end, and what cannot be read is named."""

import os

import numpy as np
import pytest

from xfm.data import open_data
from xfm.errors import XfmError
from xfm.files import apart, listing, replacing

BYTES = dict(kind="bytes")


def tree(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("word " * 30)
    return root


def names(root, **how):
    return [file.name for file in listing(root, (".txt",), **how)]


def test_linked_folders_and_files_are_read(tmp_path):
    tree(tmp_path, "root/own/a.txt", "far/b.txt", "far/deep/c.txt", "far/.hidden/d.txt", "one.txt")
    (tmp_path / "root/linked").symlink_to(tmp_path / "far")
    (tmp_path / "root/file.txt").symlink_to(tmp_path / "one.txt")
    (tmp_path / "root/.hid").symlink_to(tmp_path / "far")
    found = ["file.txt", "linked/b.txt", "linked/deep/c.txt", "own/a.txt"]
    assert names(tmp_path / "root") == found
    (tmp_path / "alias").symlink_to(tmp_path / "root")
    assert names(tmp_path / "alias") == found and names(tmp_path / "alias" / "file.txt") == ["file.txt"]
    assert names(tmp_path / "root", links="skip") == ["file.txt", "own/a.txt"]


def test_each_real_folder_is_read_once(tmp_path):
    """Through a loop, through two links, and where folders link to each other: ten of them have 10! paths."""
    tree(tmp_path, "root/z/a.txt", "root/b/c.txt", "far/d.txt")
    (tmp_path / "root/b/up").symlink_to(tmp_path / "root")
    (tmp_path / "root/b/self").symlink_to(".")
    (tmp_path / "root/a").symlink_to("z")  # sorts before the real folder, which keeps its name
    (tmp_path / "root/one").symlink_to(tmp_path / "far")
    (tmp_path / "root/two").symlink_to(tmp_path / "far")
    (tmp_path / "far/back").symlink_to(tmp_path / "root/b")
    assert names(tmp_path / "root") == ["b/c.txt", "one/d.txt", "z/a.txt"]
    many = tmp_path / "many"
    for i in range(10):
        tree(many, f"{i}/x.txt")
        for j in range(10):
            (many / str(i) / f"to{j}").symlink_to(many / str(j))
    assert names(many) == [f"{i}/x.txt" for i in range(10)]


def test_what_leads_nowhere_is_named(tmp_path):
    tree(tmp_path, "a.txt")
    for link, target in (("broken.txt", "gone.txt"), ("folder", "gone"), ("round", "round")):
        (tmp_path / link).symlink_to(target)
        with pytest.raises(XfmError, match=f"{link} is a broken link"):
            names(tmp_path)
        with pytest.raises(XfmError, match=f"{link} is a broken link; give a folder"):
            names(tmp_path / link)
        assert names(tmp_path, links="skip") == ["a.txt"]
        (tmp_path / link).unlink()
    os.mkfifo(tmp_path / "pipe.log")
    assert names(tmp_path) == ["a.txt"]
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(XfmError, match="pipe.txt is neither a file nor a folder"):
        names(tmp_path)
    with pytest.raises(XfmError, match="the path '' is empty"):
        names("")


def test_held_out_files_are_not_trained_on_through_a_link(tmp_path):
    tree(tmp_path, "all/inside/a.txt", "all/b.txt", "outside/c.txt")
    (tmp_path / "held").symlink_to(tmp_path / "all/inside")
    (tmp_path / "all/linked").symlink_to(tmp_path / "outside")
    for held, left in (("held", ["b.txt", "linked/c.txt"]), ("outside", ["b.txt", "inside/a.txt"])):
        found = apart(listing(tmp_path / "all", (".txt",)), listing(tmp_path / held, (".txt",)))
        assert [file.name for file in found] == left
    spec = dict(kind="text", path=str(tmp_path / "all"), validation=str(tmp_path / "held"), tokenizer=BYTES, length=32)
    facts = open_data(spec, tmp_path / "run").facts
    assert (facts["train_documents"], facts["valid_documents"]) == (2, 1)


@pytest.mark.parametrize("home", [False, True])
def test_sources_follow_links(tmp_path, monkeypatch, home):
    """Text, tables and classes of images that are links; and a path that starts with `~`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    at = "~/{}" if home else f"{tmp_path}/{{}}"
    tree(tmp_path, *(f"far/{i}.txt" for i in range(9)), "corpus/own.txt")
    (tmp_path / "corpus/linked").symlink_to(tmp_path / "far")
    spec = dict(kind="text", path=at.format("corpus"), validation=0.3, tokenizer=BYTES, length=16)
    facts = open_data(spec, tmp_path / "run").facts
    assert facts["train_documents"] + facts["valid_documents"] == 10
    mixed = dict(
        kind="mixture", parts=dict(one=dict(path=at.format("corpus"), validation=0.3)), tokenizer=BYTES, length=16
    )
    assert open_data(mixed, tmp_path / "run").facts["one_train_documents"] == facts["train_documents"]
    (tmp_path / "tables").mkdir()
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows/train.tsv").write_text("text\tlabel\n" + "a\tx\nb\ty\n" * 8)
    (tmp_path / "rows/dev.tsv").symlink_to(tmp_path / "rows/train.tsv")
    (tmp_path / "tables/linked").symlink_to(tmp_path / "rows")
    spec = dict(kind="labelled", path=at.format("tables"), validation=0.5, tokenizer=BYTES, length=16)
    facts = open_data(spec, tmp_path).facts
    assert facts["train_rows"] + facts["valid_rows"] == 32
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "pictures").mkdir()
    for name in "ab":
        (tmp_path / "store" / name).mkdir(parents=True)
        (tmp_path / "pictures" / name).symlink_to(tmp_path / "store" / name)
        for i in range(6):
            image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "store" / name / f"{i}.png")
    spec = dict(kind="images", path=at.format("pictures"), size=8, validation=0.3)
    assert open_data(spec, tmp_path).classes == ("a", "b")
    (tmp_path / "pictures/c").symlink_to(tmp_path / "store/a")
    with pytest.raises(XfmError, match="pictures/c links to a folder that is read under another name; remove the link"):
        open_data(spec, tmp_path)


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    """Where its folder is a file; and where the disk is full, which leaves nothing behind."""
    (tmp_path / "file").write_text("")
    with pytest.raises(XfmError, match="inside.txt cannot be written"), replacing(tmp_path / "file" / "inside.txt"):
        pass
    with pytest.raises(XfmError, match="new.txt cannot be written: full"), replacing(tmp_path / "new.txt") as draft:
        draft.write_text("half")
        raise OSError("full")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
