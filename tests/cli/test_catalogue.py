"""Which configs there are, and loading one by path and by name."""

from pathlib import Path

import pytest

import xfm.catalogue as catalogue
from xfm.catalogue import entries, find, load
from xfm.errors import XfmError

CONFIGS = Path(catalogue._root())
GOOD = """
from xfm.configs.text import bert
PAPER, ORACLE, VARIANTS, PARAMETERS = "A. Uthor 2020, Paper", "none", ("tiny", "small"), {}
def get_config(arg="small"):
    return bert.get_config("tiny")
"""


def test_every_config_says_what_it_is():
    found = entries()
    assert {entry.config for entry in found} >= {"text/bert", "vision/vit"}
    for entry in found:
        assert entry.error is None, entry.error
        assert entry.family == entry.config.split("/")[0] and entry.paper and entry.oracle
        assert "tiny" in entry.variants and entry.default in entry.variants
        assert set(entry.parameters) <= set(entry.variants)


def test_one_config_by_all_its_names(monkeypatch):
    monkeypatch.chdir(CONFIGS.parent)
    name = CONFIGS.name
    places = [f"{CONFIGS}/text/bert.py", f"{name}/text/bert.py", f"./{name}/text/../text/bert.py"]
    monkeypatch.chdir("/")
    for place in (f"{CONFIGS}/text/bert.py", "text/bert", "configs/text/bert.py", "text/bert.py"):
        assert find(f"{place}:tiny") == (find("text/bert")[0], "text/bert", "tiny")
        assert find(place)[2] == "base"
    monkeypatch.chdir(CONFIGS.parent)
    for place in places:
        assert find(f"{place}:L2_H128")[1:] == ("text/bert", "L2_H128")
    assert find("vision/vit:B/16")[1:] == ("vision/vit", "B/16")


def test_a_file_outside_the_package(tmp_path):
    (tmp_path / "mine.py").write_text(GOOD)
    config = load(f"{tmp_path}/mine.py", ["seed=3"])
    assert (config.name, config.seed) == ("mine:small", 3)
    with pytest.raises(XfmError, match=r"config mine has no variant 'smal' .*'small'.* tiny, small"):
        load(f"{tmp_path}/mine.py:smal")


def test_a_flaw_of_ours_keeps_its_traceback_and_one_of_the_user_does_not(tmp_path, monkeypatch):
    def flawed(config):
        raise ZeroDivisionError("flaw\non two lines")

    monkeypatch.setattr(catalogue, "check", flawed)
    (tmp_path / "mine.py").write_text(GOOD)
    with pytest.raises(ZeroDivisionError):
        load("text/bert:tiny")
    with pytest.raises(XfmError, match="^text/bert:tiny with seed=3 .*: ZeroDivisionError: flaw$"):
        load("text/bert:tiny", ["seed=3"])
    with pytest.raises(XfmError, match="^mine:tiny cannot be built: ZeroDivisionError: flaw$"):
        load(f"{tmp_path}/mine.py:tiny")


@pytest.mark.parametrize(
    "place, words",
    [
        ("text/brt", ("'text/brt'", "did you mean 'text/bert'", "`xfm list` shows")),
        ("configs/text/brt.py:tiny", ("configs/text/brt.py", "did you mean 'text/bert'")),
        ("text/bert:tinny", ("config text/bert has no variant 'tinny'", "'tiny'", "large")),
        ("text", ("'text'", "`xfm list` shows")),
        ("", ("''", "`xfm list` shows")),
    ],
)
def test_unknown_configs_and_variants(place, words):
    with pytest.raises(XfmError) as raised:
        find(place)
    assert all(word in str(raised.value) for word in words), str(raised.value)


@pytest.mark.parametrize(
    "text, words",
    [
        ("x = 1\ndef (", ("line 2", "SyntaxError")),
        ("x = 1\n\nx.y.z", ("line 3", "AttributeError")),
        ("import nowhere_at_all", ("line 1", "ModuleNotFoundError", "nowhere_at_all")),
        ("x = 1", ("no function get_config",)),
    ],
)
def test_broken_files(tmp_path, text, words):
    (tmp_path / "broken.py").write_text(text)
    with pytest.raises(XfmError) as raised:
        find(f"{tmp_path}/broken.py")
    assert all(word in str(raised.value) for word in ("broken.py", *words)), str(raised.value)


@pytest.mark.parametrize(
    "override, words",
    [
        ("model.pattern.0.kind=atention", ("'atention'", "did you mean 'attention'", "mamba2")),
        ("model.pattern.0.heads=5", ("128", "5 heads")),
        ("model.pattern.0={'kind':'attention','heads':4,'hads':1}", ("'hads'", "'heads'")),
        ("model.norms.inn={'kind':'layernorm'}", ("'inn'", "in, residual, out")),
        ("model.embed.width=102", ("102", "4 heads")),
        ("model.heads.mlm.vocab=100", ("100", "1024")),
        ("model.remat=ful", ("'ful'", "did you mean 'full'", "dots")),
        ("model.pattern.0.implementation=best", ("'best'", "naive, xla")),
        ("model.repeats=0", ("config.model.repeats", "at least 1", "not '0'")),
        ("model.dtype=floaty", ("'floaty'", "float32, bfloat16")),
        ("data.kind=txt", ("'txt'", "text", "images")),
        ("data.length=256", ("256", "64", "position.length")),
        ("data.length=0", ("config.data.length", "0")),
        ("objective.kind=mlm", ("'mlm'", "masked_lm")),
        ("objective.rate=1.5", ("rate", "1.5")),
        ("optimiser.kind=adamv", ("'adamv'", "did you mean 'adam", "lion")),
        ("schedule.kind=lin", ("'lin'", "cosine")),
        ("schedule.warmup=100000", ("warmup", "100000", "1000")),
        ("sharding=fdsp", ("'fdsp'", "did you mean 'fsdp'", "replicated")),
        ("freeze=['encoder.*']", ("config.freeze", "'encoder.*'")),
        ("batch=0", ("config.batch", "at least 1")),
    ],
)
def test_what_is_wrong_is_reported_before_any_work(override, words):
    with pytest.raises(XfmError) as raised:
        load("text/bert:tiny", [override])
    assert all(word in str(raised.value) for word in words), str(raised.value)
