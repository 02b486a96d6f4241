"""What config.json of T5, CLIP, SigLIP, GPT-2 and OPT may say in older files, and what is refused."""

import numpy as np
import pytest

from xfm.errors import XfmError
from xfm.hub.families import clip, clip_whole, gpt2, opt, t5
from xfm.hub.settings import Settings

IDS = np.array([[5, 6, 7]])
HIDDEN = np.array([[1, 1, 0]])
WHOLE_CLIP, WHOLE_SIGLIP = (one.towers["text"] for one in (clip_whole.CLIP, clip_whole.SIGLIP))


def network(family, **config):
    settings = Settings(config)
    spec = family.network(settings)
    settings.finish()
    return spec


def test_absent_keys_of_a_tower_have_the_published_values():
    spec = network(WHOLE_SIGLIP, text_config={"model_type": "siglip_text_model"}, vision_config={"patch_size": 16})
    assert spec["embed"]["vocab"] == 32000 and spec["embed"]["width"] == 768 and spec["repeats"] == 12
    assert spec["pattern"][1]["activation"] == "gelu_tanh" and spec["mask"] == "full"


def test_files_of_2022_hold_the_tower_twice_and_the_second_counts():
    first, second = {"hidden_size": 768, "eos_token_id": 2}, {"hidden_size": 1024, "num_attention_heads": 16}
    config = dict(text_config=first, text_config_dict=second, vision_config={}, projection_dim=640)
    assert network(WHOLE_CLIP, **config)["embed"]["width"] == 1024
    assert clip.at_end(Settings(config))["pool"]["token"] == 49407
    assert clip.projection(Settings(config))["pool"]["width"] == 640


def test_the_wrong_end_token_means_the_highest_id():
    assert clip.at_end(Settings(dict(eos_token_id=2)))["pool"]["token"] is None


def test_a_towers_unknown_key_is_refused_with_its_path():
    with pytest.raises(XfmError, match=r"text_config sets rope_theta"):
        network(WHOLE_CLIP, text_config=dict(rope_theta=1e4), vision_config={})
    with pytest.raises(XfmError, match="must be an object with a network's settings"):
        network(WHOLE_CLIP, text_config=7)


def test_siglip_is_read_at_its_last_position_padding_or_not():
    batch = clip.SIGLIP.calling.inputs(Settings({}), IDS, HIDDEN, None, None)
    assert batch["heard"].tolist() == HIDDEN.tolist() and "segments" not in batch
    assert not clip.SIGLIP.calling.inputs(Settings({}), IDS, None, None, None).keys() & {"heard", "segments"}
    with pytest.raises(XfmError, match="hides all tokens of row 0"):
        clip.SIGLIP.calling.inputs(Settings({}), IDS, 0 * HIDDEN, None, None)


SIZES = dict(num_layers=2, d_model=16, num_heads=2, d_ff=24, d_kv=8, vocab_size=11)


@pytest.mark.parametrize(
    "said,kind,activation",
    [({}, "mlp", "relu"), ({"feed_forward_proj": "gated-gelu"}, "glu", "gelu_tanh"),
     ({"feed_forward_proj": "gated-silu"}, "glu", "silu"), ({"feed_forward_proj": "gelu"}, "mlp", "gelu")],
)  # fmt: skip
def test_feed_forward_parts_of_t5(said, kind, activation):
    ffn = network(t5.FAMILY, **SIZES, **said)["pattern"][1]
    assert (ffn["kind"], ffn["activation"]) == (kind, activation)


def test_mt5_is_gated_where_config_is_silent():
    assert network(t5.MT5, **SIZES)["pattern"][1]["kind"] == "glu"


@pytest.mark.parametrize(
    "said,reason",
    [({"feed_forward_proj": "gated-gelu-new"}, "an activation, or 'gated-' and an activation"),
     ({"feed_forward_proj": "gated-sine"}, "xfm knows"), ({"is_gated_act": True}, "is_gated_act")],
)  # fmt: skip
def test_what_t5_cannot_be(said, reason):
    with pytest.raises(XfmError, match=reason):
        network(t5.FAMILY, **SIZES, **said)


def test_t5_does_not_ignore_positions():
    with pytest.raises(XfmError, match="takes no position_ids"):
        t5.UMT5.calling.inputs(Settings({}), IDS, None, None, np.zeros_like(IDS))
    assert set(t5.UMT5.calling.inputs(Settings({}), IDS, IDS > 0, None, None)) == {"tokens", "positions", "segments"}


def test_gpt2_would_take_types_for_words():
    with pytest.raises(XfmError, match="no token_type_ids"):
        gpt2.FAMILY.calling.inputs(Settings({}), IDS, None, np.zeros_like(IDS), None)


def test_opt_counts_real_tokens():
    mask = np.array([[0, 0, 1, 1, 0, 1]])
    batch = opt.FAMILY.calling.inputs(Settings({}), np.ones((1, 6), np.int32), mask, None, None)
    assert batch["positions"][mask > 0].tolist() == [0, 1, 2]
