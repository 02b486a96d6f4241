"""Folders made to hurt: each is refused in one sentence, in little time and memory, whatever its files hold.

The base is a small BERT that loads; each case damages it in one way. A refusal is an XfmError and nothing else.
"""

import json
import os
import resource
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import xfm
from tests.hub import small
from xfm.errors import XfmError

SECONDS, BYTES, WORDS = 5.0, 2**30, 700  # what a refusal may take, and how long its sentence may be
WAIT = 60.0  # seconds by the clock, which on a busy machine runs ahead of those of the processor
WORD = "bert.embeddings.word_embeddings.weight"
INDEX = "model.safetensors.index.json"
Evil = Callable[[Path], object]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    path = small.folder(tmp_path_factory.mktemp("base"))
    xfm.load(path)  # it is good, and the first load's imports and compilations are paid for
    return path


@pytest.fixture
def folder(base, tmp_path) -> Path:
    return Path(shutil.copytree(base, tmp_path / "evil"))


# What a case does to the folder.


def config(**changes) -> Evil:
    return lambda f: (f / "config.json").write_text(
        json.dumps({**json.loads((f / "config.json").read_text()), **changes})
    )


def without(*keys: str) -> Evil:
    def change(f):
        kept = {k: v for k, v in json.loads((f / "config.json").read_text()).items() if k not in keys}
        (f / "config.json").write_text(json.dumps(kept))

    return change


def raw(key: str, text: str) -> Evil:
    """The key's value written as that text, which no JSON writer would write."""
    return lambda f: (f / "config.json").write_text(
        json.dumps({**json.loads((f / "config.json").read_text()), key: "@"}).replace('"@"', text)
    )


def classes(**texts: str) -> Evil:
    """A classifier of three classes in the place of the heads, and that text as the value of a key of config.json."""

    def change(f):
        found = {name: a for name, a in small.weights().items() if not name.startswith("cls.")}
        found["classifier.weight"] = np.zeros((3, found[WORD].shape[1]), np.float32)
        small.save_file(found | {"classifier.bias": np.zeros(3, np.float32)}, f / "model.safetensors")
        without("id2label", "label2id", "num_labels")(f)
        config(architectures=["BertForSequenceClassification"])(f)
        for key, text in texts.items():
            raw(key, text)(f)

    return change


def write(name: str, content: bytes | str) -> Evil:
    return lambda f: (f / name).write_bytes(content.encode() if isinstance(content, str) else content)


def replace(name: str, make: Callable[[Path], object]) -> Evil:
    return lambda f: ((f / name).unlink(), make(f / name))


def sparse(size: int) -> Callable[[Path], None]:
    return lambda path: (path.touch(), os.truncate(path, size))


def tensors(header: object, data: bytes = b"", length: int | None = None) -> Evil:
    """A model.safetensors with that header, as it is or as JSON, with its true length or another."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return write("model.safetensors", struct.pack("<Q", len(text) if length is None else length) + text + data)


def entry(dtype="F32", shape=(1,), offsets=(0, 4), **more) -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


def empty_tensors(count: int) -> Evil:
    """A model.safetensors of that many, written piece by piece, so that the test's own memory stays small."""
    rest = json.dumps(entry(shape=(0,), offsets=(0, 0)))

    def change(f):
        with (f / "model.safetensors").open("wb") as out:
            out.write(bytes(8))
            out.writelines(b'%s"%d":%s' % (b"," if i else b"{", i, rest.encode()) for i in range(count))
            length = out.tell() + 1 - 8
            out.write(b"}")
            out.seek(0)
            out.write(struct.pack("<Q", length))

    return change


def index(content: object) -> Evil:
    def change(f):
        (f / "model.safetensors").rename(f / "a.safetensors")
        (f / INDEX).write_text(content if isinstance(content, str) else json.dumps(content))

    return change


def shard(make: Callable[[Path], object]) -> Evil:
    """An index that names a file that `make` makes."""
    return lambda f: (index({"weight_map": {WORD: "b.safetensors"}})(f), make(f / "b.safetensors"))


def rewrite(change: Callable[[str], bytes]) -> Evil:
    return lambda f: (f / "config.json").write_bytes(change((f / "config.json").read_text()))


def msgpack(content: bytes) -> Evil:
    return flax(lambda path: path.write_bytes(content))


def flax(make: Callable[[Path], object]) -> Evil:
    """A flax_model.msgpack that `make` makes, in the place of the other weights."""
    return lambda f: ((f / "model.safetensors").unlink(), make(f / "flax_model.msgpack"))


def arrays(change: Callable[[dict], object]) -> Evil:
    def evil(f):
        found = small.weights()
        change(found)
        small.save_file(found, f / "model.safetensors")

    return evil


def link(name: str, target: str) -> Evil:
    return replace(name, lambda path: path.symlink_to(target))


SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
         "max_position_embeddings", "type_vocab_size")  # fmt: skip
WRONG = {"zero": 0, "negative": -1, "a fraction": 0.5, "text": "12", "true": True, "null": None, "a list": [2],
         "a mapping": {"a": 1}, "huge": 10**10, "beyond int64": 10**30}  # fmt: skip

CASES: dict[str, Evil] = {
    **{f"{key} is {what}": config(**{key: value}) for key in SIZES for what, value in WRONG.items()},
    **{f"{key} is {text}": raw(key, text) for key in SIZES for text in ("NaN", "Infinity", "-Infinity", "1e400")},
    **{f"lacks {key}": without(key) for key in (*SIZES[:6], "model_type")},
    # Numbers and words that are no sizes.
    **{
        f"layer_norm_eps is {text}": raw("layer_norm_eps", text)
        for text in ("-1", "0", "NaN", "Infinity", '"x"', "true", "[]", "1e-400", "null")
    },
    **{f"hidden_act is {text}": raw("hidden_act", text) for text in ('"evil"', "3", "null", "[]", "{}", '["gelu"]')},
    **{f"model_type is {text}": raw("model_type", text) for text in ('"evil"', "3", "null", "[]", "{}", '"../bert"')},
    "architectures is a number": config(architectures=3),
    "architectures is text in text": config(architectures=[[["BertModel"]]]),
    "architectures is a mapping": config(architectures=[{"a": 1}]),
    "a key nobody knows": config(evil_switch=3),
    "a key nobody knows, long": config(**{"e" * 10**6: "v" * 10**6}),
    "a decoder": config(is_decoder=True),
    "pruned heads": config(pruned_heads={"0": [1]}),
    "quantised": config(quantization_config={"bits": 4}),
    "relative positions": config(position_embedding_type="relative_key"),
    "positions of a list": config(position_embedding_type=["absolute"]),
    "tied of a list": config(tie_word_embeddings=[]),
    # Classes.
    **{
        f"num_labels is {text[:20]}": classes(num_labels=text)
        for text in ("10000000000", "1e400", "NaN", "-1", "1.5", '"2"', "[]", "true", "1" + "0" * 300)
    },
    **{
        f"id2label is {text[:30]}": classes(id2label=text)
        for text in ("[]", '["a", "b"]', '"ab"', "3", '{"a": "b"}', '{"0": "a", "2": "b"}', '{"-1": "a", "0": "b"}',
                     '{"0": "a", "00": "b"}', '{"0": ["a"]}', '{"1e10": "x"}', '{"0": "a", "0": "b", "1": "c"}',
                     '{"0": "a", "1": "b"}', json.dumps({str(i): "x" for i in range(100_000)}))
    },
    # The JSON itself.
    "config.json is absent": lambda f: (f / "config.json").unlink(),
    "config.json is empty": write("config.json", ""),
    "config.json is text": write("config.json", "evil"),
    "config.json is a list": write("config.json", "[]"),
    "config.json is null": write("config.json", "null"),
    "config.json is a number": write("config.json", "3"),
    "config.json is {}": write("config.json", "{}"),
    "config.json is cut off": lambda f: os.truncate(f / "config.json", 100),
    "config.json is UTF-16": rewrite(lambda text: text.encode("utf-16")),
    "config.json begins with a byte order mark": rewrite(lambda text: text.encode("utf-8-sig")),
    "config.json is Latin": write("config.json", b'{"model_type": "b\xe9rt"}'),
    "config.json holds a zero byte": write("config.json", b'{"model_type": "bert\x00"}'),
    "config.json is nested without end": write("config.json", '{"a":' * 200_000),
    "config.json is nested in lists": write("config.json", '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"),
    "a key stands twice": rewrite(lambda text: text.replace("{", '{"hidden_size": 8,', 1).encode()),
    "a number of 5000 digits": raw("vocab_size", "9" * 5000),
    "a number of 4000 digits": raw("vocab_size", "9" * 4000),
    "config.json is a folder": replace("config.json", lambda p: p.mkdir()),
    "config.json is a FIFO": replace("config.json", os.mkfifo),
    "config.json is a device": link("config.json", "/dev/zero"),
    "config.json is a terminal": link("config.json", "/dev/tty"),
    "config.json leads to itself": link("config.json", "config.json"),
    "config.json leads nowhere": link("config.json", "nowhere"),
    "config.json is of 40 GB": replace("config.json", sparse(40 * 10**9)),
    # Which weights there are.
    "no weights": lambda f: (f / "model.safetensors").unlink(),
    "an empty folder": lambda f: [one.unlink() for one in f.iterdir()],
    "a pickle alone": lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
    "weights are a folder": replace("model.safetensors", lambda p: p.mkdir()),
    "weights are a FIFO": replace("model.safetensors", os.mkfifo),
    "weights are a device": link("model.safetensors", "/dev/zero"),
    "weights are /dev/null": link("model.safetensors", "/dev/null"),
    "weights lead to themselves": link("model.safetensors", "model.safetensors"),
    "weights lead nowhere": link("model.safetensors", "nowhere"),
    "weights are of 40 GB": replace("model.safetensors", sparse(40 * 10**9)),
    "weights are empty": write("model.safetensors", b""),
    "weights are 7 bytes": write("model.safetensors", b"\0" * 7),
    "weights are 8 bytes": write("model.safetensors", b"\0" * 8),
    "weights are noise": write("model.safetensors", np.random.default_rng(0).bytes(5000)),
    "weights are cut off": lambda f: os.truncate(f / "model.safetensors", 9000),
    "weights are cut off in the header": lambda f: os.truncate(f / "model.safetensors", 500),
    "weights go on": lambda f: (f / "model.safetensors").open("ab").write(b"more"),
    # The header.
    "header of 2 GiB": lambda f: (tensors({}, length=2**31)(f), os.truncate(f / "model.safetensors", 2**31 + 8)),
    "header beyond the file": tensors({}, length=10**6),
    "header of 2^64 - 1": tensors({}, length=2**64 - 1),
    "header of nothing": tensors(b""),
    "header is {}": tensors({}),
    "header is a list": tensors([]),
    "header is null": tensors(None),
    "header is no JSON": tensors(b"{evil}"),
    "header is no UTF-8": tensors(b'{"\xff": 1}'),
    "header is nested": tensors(b'{"a":' * 100_000),
    "header lists a name twice": tensors(b'{"a":%s,"a":%s}' % ((json.dumps(entry()).encode(),) * 2), b"\0" * 4),
    "a million empty tensors": empty_tensors(1_000_000),
    "a thousand empty tensors": empty_tensors(1000),
    "offsets reversed": tensors({"a": entry(offsets=(4, 0))}, b"\0" * 4),
    "offsets negative": tensors({"a": entry(offsets=(-4, 0))}, b"\0" * 4),
    "offsets beyond the file": tensors({"a": entry(offsets=(0, 4000), shape=(1000,))}, b"\0" * 4),
    "offsets of 2^63": tensors({"a": entry(offsets=(2**63, 2**63 + 4))}, b"\0" * 4),
    "offsets overlap": tensors({"a": entry(shape=(2,), offsets=(0, 8)), "b": entry(offsets=(4, 8))}, b"\0" * 8),
    "offsets leave a hole": tensors({"a": entry(), "b": entry(offsets=(8, 12))}, b"\0" * 12),
    "offsets are three": tensors({"a": entry(offsets=(0, 4, 8))}, b"\0" * 4),
    "offsets are text": tensors({"a": {**entry(), "data_offsets": "04"}}, b"\0" * 4),
    "a tensor is null": tensors({"a": None}),
    "a tensor lacks its shape": tensors({"a": {"dtype": "F32", "data_offsets": [0, 4]}}, b"\0" * 4),
    "a dtype nobody knows": tensors({"a": entry(dtype="F3")}, b"\0" * 4),
    "a dtype that is a number": tensors({"a": entry(dtype=32)}, b"\0" * 4),
    "a shape that overflows": tensors({"a": entry(shape=(2**33, 2**33))}, b"\0" * 4),
    "a negative shape": tensors({"a": entry(shape=(-1, -1))}, b"\0" * 4),
    "a shape of text": tensors({"a": entry(shape=("1",))}, b"\0" * 4),
    "a shape of fractions": tensors({"a": entry(shape=(1.0,))}, b"\0" * 4),
    "a shape of a thousand axes": tensors({WORD: entry(shape=(1,) * 1000)}, b"\0" * 4),
    "a shape beyond its bytes": tensors({"a": entry(shape=(1000,))}, b"\0" * 4),
    "one tensor of another network": tensors({"evil": entry()}, b"\0" * 4),
    "metadata is a list": tensors({"__metadata__": [], "a": entry()}, b"\0" * 4),
    # The tensors.
    "a tensor is absent": arrays(lambda a: a.pop(WORD)),
    "a tensor too many": arrays(lambda a: a.update(evil=np.zeros(3, np.float32))),
    "a tensor of whole numbers": arrays(lambda a: a.update({WORD: a[WORD].astype(np.int32)})),
    "a tensor of another shape": arrays(lambda a: a.update({WORD: a[WORD][:-1]})),
    "a tensor of no rows": arrays(lambda a: a.update({WORD: a[WORD][:0]})),
    "a tensor of one number": arrays(lambda a: a.update({WORD: np.array(3, np.float32)})),
    "a tensor of NaN": arrays(lambda a: a[WORD].fill(np.nan)),
    "a tensor of infinity": arrays(lambda a: a[WORD].fill(np.inf)),
    # Several files.
    "index is empty": index(""),
    "index is a list": index([]),
    "index is nested": index('{"weight_map":' * 100_000),
    "index is a FIFO": lambda f: ((f / "model.safetensors").unlink(), os.mkfifo(f / INDEX)),
    "index has no map": index({}),
    "map is a list": index({"weight_map": [WORD]}),
    "map is null": index({"weight_map": None}),
    "map is text": index({"weight_map": "a.safetensors"}),
    "map is empty": index({"weight_map": {}}),
    **{
        f"map to {json.dumps(name)}": index({"weight_map": {WORD: name}})
        for name in (3, None, [], {}, "", "nowhere.safetensors", "../../../etc/passwd", "/etc/passwd", "/dev/zero",
                     "../a.safetensors", "a.bin", "a/../a.safetensors", "evil\0.safetensors", "..safetensors",
                     "x" * 5000 + ".safetensors")
    },
    "map to a file without the tensor": index({"weight_map": {"evil": "a.safetensors"}}),
    "map of one tensor": index({"weight_map": {WORD: "a.safetensors"}}),
    "map to a FIFO": shard(os.mkfifo),
    "map to a folder": shard(lambda path: path.mkdir()),
    "map to a device": shard(lambda path: path.symlink_to("/dev/zero")),
    "map to itself": shard(lambda path: path.symlink_to(path.name)),
    "map to a thousand files": index({"weight_map": {f"t{i}": f"{i}.safetensors" for i in range(1000)}}),
    # The file of Flax.
    "msgpack is empty": msgpack(b""),
    "msgpack is noise": msgpack(np.random.default_rng(1).bytes(5000)),
    "msgpack is nested": msgpack(b"\x81\xa1a" * 100_000 + b"\xc0"),
    "msgpack is a list": msgpack(b"\x91\x01"),
    "msgpack declares 2^32 items": msgpack(b"\xdf\xff\xff\xff\xff"),
    "msgpack declares 2^32 bytes": msgpack(b"\xc6\xff\xff\xff\xff"),
    "msgpack holds an array of 2^60 numbers": msgpack(
        b"\x81\xa1a\xc7\x10\x01\x93\x91\xcf\x10" + b"\0" * 7 + b"\xa3<f4\xc4\x00"
    ),
    "msgpack holds objects": msgpack(b"\x81\xa1a\xc7\x0d\x01\x93\x91\x01\xa2|O\xc4\x08" + b"\0" * 8),
    "msgpack has a key that is no text": msgpack(b"\x81\x01\x81\x02\x03"),
    "msgpack is a FIFO": flax(os.mkfifo),
    "msgpack is a device": flax(lambda path: path.symlink_to("/dev/zero")),
    "msgpack is of 40 GB": flax(sparse(40 * 10**9)),
}  # fmt: skip


@pytest.mark.parametrize("case", list(CASES))
def test_refused(folder, case):
    CASES[case](folder)
    before, start, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time(), time.monotonic()
    with pytest.raises(XfmError) as raised:
        xfm.load(folder)
    took, waited = time.process_time() - start, time.monotonic() - began
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    sentence = " ".join(str(raised.value).split())
    assert waited < WAIT, f"refused after {waited:.0f} s by the clock"
    assert took < SECONDS and grown < BYTES, f"refused after {took:.1f} s and {grown / 1e6:.0f} MB"
    assert 10 < len(sentence) < WORDS and "Traceback" not in sentence, sentence[:2000]


@pytest.mark.parametrize("text", ["-1", "NaN", "0"])
def test_an_epsilon_is_refused_by_the_rule_of_fields(folder, text):
    raw("layer_norm_eps", text)(folder)
    with pytest.raises(
        XfmError, match=r"config.json does not describe a valid network: norm 'layernorm': eps is .*a number above 0"
    ):
        xfm.load(folder)


def test_there_are_enough():
    assert len(CASES) >= 150
