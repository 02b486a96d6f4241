"""Files of timm, loaded by xfm, against timm: every stage, logits, gradients; and saved back. Takes twelve seconds."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import xfm
from tests.hub.test_parity import compare, of
from tests.hub.timm_cases import CASES, FOLDER
from xfm.errors import XfmError


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name in ("swin_clamped", "pvt_v2") else []) for name in CASES],
)
def test_equals_timm(name, tmp_path):
    with np.load(FOLDER / f"{name}.npz") as file:
        arrays = {key: file[key] for key in file.files}
    compare(arrays, str(arrays["config"]), tmp_path)


def folder(path, name="swin", **changes):
    with np.load(FOLDER / f"{name}.npz") as file:
        arrays, config = of({key: file[key] for key in file.files}, "weight/"), json.loads(str(file["config"]))
    arguments = config["model_args"] | changes.pop("model_args", {})
    (path / "config.json").write_text(json.dumps(config | {"model_args": arguments} | changes))
    save_file(arrays, path / "model.safetensors")
    return path, arrays


@pytest.mark.parametrize(
    "name,architecture", [("swin", "swin_tiny_patch4_window7_224"), ("pvt_v2_linear", "pvt_v2_b2_li")]
)
def test_what_is_written_is_what_was_read(name, architecture, tmp_path):
    (tmp_path / "in").mkdir()
    source, before = folder(tmp_path / "in", name)
    after = xfm.load(source).save(tmp_path / "out")
    found = load_file(after / "model.safetensors")
    assert found.keys() == before.keys()
    assert all(found[name].tobytes() == before[name].tobytes() for name in before)
    assert json.loads((after / "config.json").read_text())["architecture"] == architecture


@pytest.mark.parametrize(
    "changes,said",
    [
        (dict(architecture="swin_s3_tiny_224"), "the architecture 'swin_s3_tiny_224'; xfm reads those of the forms"),
        (dict(architecture="pvt_v2_b9"), "the architecture 'pvt_v2_b9'; xfm reads pvt_v2_b0"),
        (dict(architecture="pvt_v2_b0", model_args=dict(qkv_bias=False)), "sets qkv_bias among the model_args of pvt"),
        (dict(model_args=dict(mlp_ratio=3.0)), "sets mlp_ratio among the model_args"),
        (dict(model_args=dict(odd=1)), "sets odd among the model_args of swin_tiny_patch4_window7_224, which xfm does"),
    ],
)
def test_what_does_not_fit_is_refused(changes, said, tmp_path):
    with pytest.raises(XfmError, match=said):
        xfm.load(folder(tmp_path, **changes)[0])
