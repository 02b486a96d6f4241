"""Wrong command lines, made by rule from the configs and by hand: each ends in one sentence that names its cause.

A refusal is an XfmError of our own: neither a traceback nor an error of a library's in our words ("cannot be built").
"""

import re
import time
from collections.abc import Iterator

import pytest

from xfm.catalogue import load
from xfm.cli import main, parser, split_overrides
from xfm.errors import XfmError
from xfm.spec import plain

MORE = ("sequence/mamba2_hybrid:tiny", "text/electra:tiny", "text/finetune_pair:tiny")
CONFIGS = ["text/bert:tiny", "vision/vit:tiny", *(pytest.param(one, marks=pytest.mark.slow) for one in MORE)]
SECONDS, WORDS = 20.0, 900  # of a refusal on a busy machine, and of its sentence
FREE = (
    r"name|notes|init\..*\.(value|low|high)|data\.(path|field|validation|texts.*)"  # any text or number may stand there
)
BERT = "text/bert:tiny"


def leaves(value, path: str = "") -> Iterator[tuple[str, object]]:
    """Every key of a config, mappings and lists too, with what stands there."""
    if path:
        yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in items:
        yield from leaves(one, f"{path}.{key}" if path else str(key))


def wrong(path: str, value: object) -> Iterator[str]:
    """What must not be set where `value` stands: other types, and numbers out of all ranges."""
    if isinstance(value, bool):
        yield from ("3", "maybe", "None")
    elif isinstance(value, int):
        yield from ("-1", "0.5", "many", "True", "1e30")
    elif isinstance(value, float):
        yield from ("-1", "much", "1e400", "True")
    elif isinstance(value, dict):
        yield from ("3", "evil")
    elif isinstance(value, list):
        yield from ("3", "evil")
    if path.endswith(".kind"):
        yield "evil"


def lines(config: str) -> Iterator[list[str]]:
    for path, value in leaves(plain(load(config))):
        if re.fullmatch(FREE, path):
            continue
        for text in wrong(path, value):
            yield ["describe", config, f"--config.{path}={text}"]
        if isinstance(value, dict):
            yield ["describe", config, f"--config.{path}.evil_key=3"]


def run(line: list[str]) -> None:
    """What `main` does, without its last resort for errors that nobody expected."""
    words, overrides = split_overrides(line)
    arguments = parser().parse_args(words)
    if overrides and not arguments.takes_config:
        raise XfmError(f"--config.{overrides[0]} has no effect here")
    arguments.overrides = overrides
    arguments.run(arguments)


def complaint(line: list[str]) -> str | None:
    """What is wrong about how a wrong line ends; None where it is refused as it should be."""
    start, shown = time.monotonic(), " ".join(line)[:200]
    try:
        run(line)
    except XfmError as error:
        sentence = " ".join(str(error).split())
        if not 10 < len(sentence) < WORDS or "cannot be built" in sentence:
            return f"{shown}: {sentence[:WORDS]}"
        took = time.monotonic() - start
        return f"{shown}: refused after {took:.1f} s" if took > SECONDS else None
    except BaseException as error:
        return f"{shown}: {type(error).__name__}: {error}"
    return f"{shown}: not refused"


@pytest.mark.parametrize("config", CONFIGS)
def test_every_key_refuses_what_it_cannot_hold(config):
    made = list(lines(config))
    assert len(made) > 120
    complaints = [found for line in made if (found := complaint(line))]
    assert not complaints, "\n".join([f"{len(complaints)} of {len(made)}:", *complaints])


VALUES = [
    # Rates, shares and decays.
    "model.residual.drop=10", "model.residual.drop=1", "model.residual.drop_path=1.5", "model.residual.drop=-0.5",
    "model.embed.drop=nan", "optimiser.b1=1", "optimiser.b2=1.5", "optimiser.eps=0", "optimiser.weight_decay=-1",
    "optimiser.weight_decay=1e39", "schedule.peak=-1e-3", "schedule.warmup=-1", "schedule.warmup=100000000",
    "schedule.peak=inf", "objective.rate=0", "objective.rate=1", "objective.rate=15", "objective.split=[1.0]",
    "objective.split=[0.5,0.4,0.3]", "objective.split=[2,-1,0]", "ema=1", "ema=0", "clip=0", "clip=-1", "seed=-1",
    "seed=4294967296", "data.validation=0", "data.validation=1", "data.validation=-0.1", "data.validation=''",
    # Words.
    "objective.units={}", "objective.units={'kind': 'words'}", "objective.units={'kind': ['span']}",
    "objective.units={'kind': 'span', 'end': 2}", "objective.units={'kind': 'span', 'longest': 0}",
    "objective.units={'kind': 'span', 'lenght': 3}", "objective.pairs=some", "data.packing=x", "data.unit=x",
    "data.errors=x", "nan=x", "sharding=x", "log=['x']", "log=[3]", "model.dtype=x", "model.dtype=int8",
    "model.remat=x", "model.mask=x", "layout={}", "layout={'kind': 'x'}", "layout={'kind': 'tokens', 'window': 0}",
    "mesh={'x': 1}", "mesh={'data': 0}", "mesh=[]",
    # Sizes.
    "steps=1e30", "steps=0", "steps=0.5", "steps=9999999999", "batch=1e12", "batch=0", "accumulate=1e9", "keep=1",
    "model.repeats=0", "model.repeats=1e10", "model.loops=0", "model.embed.width=7", "model.embed.width=0",
    "model.pattern.0.heads=7", "model.pattern.0.heads=0", "model.pattern.0.window=0", "model.pattern.0.kv_heads=3",
    "model.out=0", "data.length=3", "data.length=1e9", "data.max_bytes=0", "data.tokenizer.size=-1",
    "data.tokenizer.size=1e9", "model.embed.position={'kind': 'learned', 'length': 3}",
    # Shapes of data.
    "model={}", "model.pattern=[]", "model.pattern=[3]", "model.pattern=[{}]", "model.pattern=['attention']",
    "model.pattern.0={}", "model.pattern.0=[]", "model.pattern=[{'kind': ['x']}]", "model.pattern=[{'part': {}}]",
    "model.pattern=[{'part': {'kind': 'mlp', 'hidden': 8}, 'nrms': {}}]", "model.norms=[]", "model.norms={'in': {}}",
    "model.norms={'in': 3}", "model.residual={}", "model.heads={'x': {}}", "model.heads={'x': 3}",
    "model.norm={'kind': []}", "model.position={}", "objective={}", "data={}", "optimiser={}", "schedule={}",
    "data.tokenizer={}", "data.tokenizer={'kind': 'x'}", "data.tokenizer={'kind': 'file', 'path': ''}", "data.path=",
    "data.path=''",
    # Rules.
    "init=3", "init=[3]", "init=[['(', {'kind': 'normal', 'std': 1}]]", "init=[['', {'kind': 'normal'}]]",
    "init=[['', {'kind': 'normal', 'std': -1}]]", "init=[['', {'kind': 'x'}]]", "init=[['', {}]]", "init=[['', 'x']]",
    "init=[['evil', {'kind': 'normal', 'std': 1}]]", "decay=[['(', 0.0]]", "decay=[3]", "decay=[['', -1]]",
    "groups=[['', [1.0]]]", "groups=[['evil', 1.0]]", "freeze=['(']", "freeze=['']", "freeze='x'", "freeze=['evil']",
    # Other kinds, with what they lack.
    "model.kind=funnel", "objective.kind=permutation_lm", "objective.kind=classification",
    "optimiser={'kind': 'sgd', 'momentum': 2}", "optimiser={'kind': 'sgd', 'momentum_kind': 'x'}",
    "schedule={'kind': 'wsd', 'decay': 100000000}", "schedule={'kind': 'wsd', 'shape': 'x'}", "data.kind=mixture",
    "data.kind=tfds", "start={'source': '/nowhere'}", "start={'source': ''}", "start={'x': 1}", "start.drop=2",
]  # fmt: skip
PIXELS = [
    "objective.smoothing=2", "objective.smoothing=1", "objective.mixup=-1", "objective.cutmix=nan",
    "objective.classes=1", "evals.0.scores=['x']", "evals.0.scores='x'", "evals.0.scores=[[]]",
    "evals=x", "evals=[3]", "evals=[{}]", "evals=[{'kind': 'x'}]", "evals=[{'kind': 'classes', 'x': 1}]",
    "evals.0.kind=x", "evals.1.scores=[]",
    "data.size=[1,2,3]", "data.std=0", "data.mean='x'", "data.corrupt=x", "data.augment=[3]",
    "data.augment=[{'kind': 'x'}]", "data.augment=[{'kind': 'flip', 'chance': 2}]", "model.embed.patch=0",
    "model.embed.patch=[4]", "model.embed.patch=3",
]  # fmt: skip


def test_values_that_a_person_might_write():
    made = [["describe", BERT, f"--config.{one}"] for one in VALUES]
    made += [["describe", "vision/vit:tiny", f"--config.{one}"] for one in PIXELS]
    complaints = [found for line in made if (found := complaint(line))]
    assert len(made) > 120 and not complaints, "\n".join([f"{len(complaints)} of {len(made)}:", *complaints])


FILES = {
    "raises.py": "raise RuntimeError('evil')",
    "divides.py": "def get_config(arg='a'):\n    return 1 / 0",
    "leaves.py": "import sys\nsys.exit(3)",
    "leaves_later.py": "import sys\ndef get_config(arg='a'):\n    sys.exit(3)",
    "syntax.py": "x = (",
    "imports.py": "import no_such_module",
    "three.py": "def get_config(arg='a'):\n    return 3",
    "keys.py": "def get_config(arg='a'):\n    return {3: 4}",
    "empty.py": "def get_config(arg='a'):\n    return {}",
    "nothing.py": "",
    "number.py": "get_config = 3",
    "no_argument.py": "def get_config():\n    return {}",
    "variants.py": "VARIANTS = 3\ndef get_config(arg='a'):\n    return {}",
    "no_model.py": "def get_config(arg='a'):\n    return dict(objective={'kind': 'causal_lm'}, data={'kind': 'text'})",
    "model_none.py": "def get_config(arg='a'):\n    return dict(objective={'kind': 'span'}, data={}, model=None)",
    "data_list.py": "def get_config(arg='a'):\n    return dict(objective=[], data=[], model=[])",
    "binary.py": "\0\0",
}  # fmt: skip
WORDS_ALONE = [
    [], ["fly"], ["Train", BERT], ["-x"], ["--version"], ["--config.steps=3"], ["train"], ["train", BERT],
    ["train", BERT, "--workdir"], ["train", BERT, "--workdir", ""], ["train", BERT, "--workdir", " "],
    ["train", BERT, "--workdir", "x\0y"], ["train", "--workdir", "x"], ["train", BERT, "--workdir", "x", "more"],
    ["train", BERT, "--workdr", "x"], ["train", BERT, "--workdir", "x", "--config"],
    ["train", BERT, "--workdir", "x", "--config.steps"], ["train", BERT, "--workdir", "x", "--config.=3"],
    ["train", BERT, "--workdir", "x", "--config.steps", "--json"],
    ["train", BERT, "--workdir", "x", "--config.batch=1e9"],
    ["train", BERT, "--workdir", "x", "--config.model.repeats=1000000"],
    ["train", BERT, "--workdir", "file"], ["train", BERT, "--workdir", "file/inside"],
    ["train", BERT, "--workdir", "new", "--config.data.path=nowhere"],
    ["train", BERT, "--workdir", "new", "--config.data.path=folder"],
    ["train", BERT, "--workdir", "new", "--config.data.path=/dev/zero"],
    ["train", BERT, "--workdir", "new", "--config.data.path=folder", "--config.mesh={'data': 7}"],
    ["train", BERT, "--workdir", "new", "--config.data.tokenizer={'kind': 'file', 'path': 'nowhere'}"],
    ["train", "empty.py", "--workdir", "new"],
    ["describe"], ["describe", BERT, "more"], ["describe", ""], ["describe", ":"], ["describe", ":tiny"],
    ["describe", "text"], ["describe", "text/bert:huge"], ["describe", "text/brt:tiny"], ["describe", f"{BERT}:tiny"],
    ["describe", "no_such_file.py"], ["describe", "folder"], ["describe", "file"], ["describe", "/dev/zero"],
    ["describe", "\0"], ["describe", "x" * 5000], ["describe", BERT, "--config.steps=" + "9" * 5000],
    ["describe", BERT, "--config.steps=" + "[" * 5000], ["describe", BERT, "--config." + "a." * 500 + "b=3"],
    *[["describe", name] for name in FILES],
    ["eval"], ["eval", ""], ["eval", "nowhere"], ["eval", "folder"], ["eval", "file"], ["eval", "folder", "--jsn"],
    ["eval", "folder", "--config.steps=3"], ["list", "x"], ["list", "--config.steps=3"], ["list", "--jso"],
    ["convert"], ["convert", "folder"], ["convert", "folder", "out"], ["convert", "", "out"], ["convert", "folder", ""],
    ["convert", "folder", "--dry-run"], ["convert", "file", "out"], ["convert", "/dev/null", "out"],
    ["convert", "folder", "out", "--revision"], ["convert", "a b", "out"], ["convert", "../nowhere", "out"],
    ["embed"], ["embed", ""], ["embed", "folder"], ["embed", "file"], ["embed", "folder", "--batch-size", "x"],
    ["embed", "folder", "--batch-size", "0"], ["embed", "folder", "--batch-size", "-1"],
    ["embed", "folder", "--truncate-dim", "0"], ["embed", "folder", "--truncate-dim", "1e9"],
]  # fmt: skip


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    path = tmp_path_factory.mktemp("here")
    for name, text in FILES.items():
        (path / name).write_text(text)
    (path / "folder").mkdir()
    (path / "file").write_text("")
    return path


def test_lines_wrong_in_other_ways(here, monkeypatch):
    monkeypatch.chdir(here)
    complaints = [found for line in WORDS_ALONE if (found := complaint(line))]
    assert not complaints, "\n".join([f"{len(complaints)} of {len(WORDS_ALONE)}:", *complaints])
    assert not (here / "x").exists()  # what is refused has begun nothing


@pytest.mark.parametrize(
    "line, words",
    [
        (["describe", BERT, "--config.model.residual.drop=10"], ("drop", "a number from 0 to below 1", "'10'")),
        (["train", BERT, "--workdir", ""], ("--workdir",)),
        (["describe", BERT, "--config.seed=-1"], ("config.seed", "from 0 to 4294967295")),
        (["describe", BERT, "--config.optimiser={'kind': 'adamw', 'b2': 1.5}"], ("optimiser 'adamw': b2 is 1.5",)),
    ],
)
def test_the_command_line_says_so_and_ends_with_2(line, words, capsys):
    assert main(line) == 2
    told = capsys.readouterr().err
    assert told.startswith("xfm: ") and told.count("\n") == 1 and all(word in told for word in words), told
