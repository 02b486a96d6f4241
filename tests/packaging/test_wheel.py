"""The built wheel, installed away from the checkout: what a user gets who never saw the repository."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.switches import PLAIN, UNOPTIMISED

ROOT = Path(__file__).parent.parent.parent

FORWARD = """
import sys
import xfm
assert not any(name.split(".")[0] in ("tensorflow", "torch", "transformers") for name in sys.modules)
from jax._src import xla_bridge
assert not xla_bridge.backends_are_initialized(), "importing xfm starts a backend"
try:
    import kernels
except ImportError:
    pass
else:
    raise AssertionError("`import kernels` must not find xfm's kernels")

import jax
import jax.numpy as jnp
from xfm.catalogue import load
config = load("text/bert:tiny")
model = xfm.build(config.model)
batch = {"tokens": jnp.ones((2, 16), jnp.int32)}
out = jax.jit(lambda key: model.apply(model.init(key, batch), batch))(jax.random.key(0))
assert out["mlm"].shape == (2, 16, 1024) and jnp.isfinite(out["mlm"]).all()
print(xfm.__file__)

from xfm.cli import main
assert main(["list", "--json"]) == 0
assert main(["describe", "vision/vit:B/16", "--json"]) == 0
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy of what git tracks or would track, so that no stray build folder helps."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    for name in filter(None, files):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, source]
    subprocess.run(command, check=True, capture_output=True)
    return next(out.glob("*.whl"))


def run(python, *arguments, cwd):
    """Its output, with one device as users have."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment["XLA_FLAGS"] = " ".join([UNOPTIMISED, *PLAIN])
    done = subprocess.run([python, *arguments], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_holds_every_module(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    for folder, mount in (("xfm", "xfm"), ("kernels", "xfm/kernels"), ("configs", "xfm/configs")):
        for file in (ROOT / folder).rglob("*.py"):
            assert f"{mount}/{file.relative_to(ROOT / folder).as_posix()}" in inside
    assert not any(name.startswith(("tests/", "kernels/", "configs/", "colab/")) for name in inside)


def test_forward_pass_from_the_wheel(wheel, tmp_path):
    """In an environment of its own, which borrows the dependencies (but no editable install) of this one."""
    python = installed(wheel, tmp_path, "--no-deps")
    borrowed = Path(sysconfig.get_paths()["purelib"])
    site = next((tmp_path / "venv").glob("lib/python*/site-packages"))
    (site / "borrowed.pth").write_text(f"{borrowed}\n")
    use(python, tmp_path)


@pytest.mark.slow
def test_forward_pass_in_a_clean_environment(wheel, tmp_path):
    """Every dependency installed from the registry, as pyproject.toml names them."""
    use(installed(wheel, tmp_path), tmp_path)


def installed(wheel, tmp_path, *options):
    venv.create(tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", *options, wheel, cwd=tmp_path)
    return python


def use(python, cwd):
    place, said = run(python, "-c", FORWARD, cwd=cwd).split("\n", 1)
    assert Path(place).is_relative_to(cwd / "venv")
    decoder = json.JSONDecoder()
    listed, end = decoder.raw_decode(said)
    assert "text/bert" in json.dumps(listed)
    described, _ = decoder.raw_decode(said[end:].lstrip())
    assert described["parameters"] == 86_567_656
