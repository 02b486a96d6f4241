"""Makes the goldens beside this file: what independent implementations make of random weights.

    python -m venv oracle
    oracle/bin/pip install torch==2.13.0+cpu --index-url https://download.pytorch.org/whl/cpu
    oracle/bin/pip install transformers==5.23.0
    oracle/bin/python tests/goldens/make.py [name ...]

Only this script needs PyTorch; the tests that read the goldens do not. A golden is a dictionary of
float32 and int32 arrays:

    config             what the reference model was given, as JSON
    versions           those of PyTorch and transformers
    weight/<name>      parameters, under the names that they have in the model's safetensors file
    input/<name>       what went in; input/cotangent/<output> are the weights of the scalar loss
    output/<name>      what came out: hidden/0 (embedding), hidden/1, … (layers), hidden/final
                       (after the last norm), and the heads
    grad/<name>        gradient of sum(output · cotangent) with respect to some weights
    grad_norm/<name>   the Euclidean norm of that gradient, for every weight

Weights are not at their initial values but large and irregular (biases and scales too), so that no
term is lost in the rounding of another; they are multiples of 1/64 and the files therefore small.
"""

import json
import pathlib
import re
import sys
import tempfile
import types

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb
from transformers.models.t5.modeling_t5 import T5Attention
from transformers.models.vit_mae.modeling_vit_mae import build_2d_sinusoidal_position_embedding

HERE = pathlib.Path(__file__).parent
LIMIT = 150_000  # bytes of a file


def save(name, arrays, config):
    """Writes one golden; arrays of any kind become float32 or int32."""
    path = HERE / f"{name}.npz"
    narrow = {"f": np.float32, "i": np.int32, "b": np.int32}
    arrays = {key: np.asarray(value) for key, value in arrays.items()}
    arrays = {key: value.astype(narrow[value.dtype.kind]) for key, value in arrays.items()}
    bad = [key for key, value in arrays.items() if not np.isfinite(value).all()]
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    texts = {"config": json.dumps(config), "versions": json.dumps(versions)}
    np.savez_compressed(path, **{key: np.array(text) for key, text in texts.items()}, **arrays)
    size = path.stat().st_size
    print(f"{path.name:28} {size:7} bytes {len(arrays):4} arrays")
    assert not bad and size < LIMIT, (bad, size)


def coarse(shape, scale, seed):
    """Normal numbers times scale, rounded to multiples of 1/64."""
    x = np.random.default_rng(seed).normal(size=tuple(shape)) * scale
    return torch.tensor(np.round(x * 64) / 64, dtype=torch.float32)


def shake(model, scale, special=()):
    """Large random weights everywhere: scales of norms around 1, the rest around 0.

    scale: standard deviation of the rest.
    special: (regex, mean, deviation) for parameters that must lie elsewhere.
    """
    rules = [*special, (r"(?i)norm\S*\.weight$", 1.0, 0.3), (r".", 0.0, scale)]
    for seed, (name, p) in enumerate(sorted(model.named_parameters())):
        _, mean, deviation = next(rule for rule in rules if re.search(rule[0], name))
        p.data = mean + coarse(p.shape, deviation, seed)


def as_file(model):
    """The model's parameters by the names that a saved file has."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return load_file(f"{folder}/model.safetensors")


def record(name, model, inputs, outputs, config, keep, given=None):
    """Runs a model and saves the golden.

    inputs: keyword arguments of the model, saved too (`given` replaces what is saved of them).
    outputs: function from the model's answer to a dictionary of tensors; all but hidden states
      enter the loss, weighted by random cotangents that are 0 where an output is of padding.
    keep: regex of the weights of which the whole gradient is kept.
    """

    def wide(value):
        return value.double() if torch.is_tensor(value) and value.is_floating_point() else value

    model.eval()
    narrow = outputs(model(**inputs, output_hidden_states=True))
    model.double()  # float64 is what is saved, so that the reference's rounding is not tested
    found = outputs(model(**{k: wide(v) for k, v in inputs.items()}, output_hidden_states=True))
    noise = {k: (narrow[k] - v).abs().max() / v.abs().max() for k, v in found.items()}
    assert max(noise.values()) < 3e-6, noise
    cotangents = {}
    for seed, key in enumerate(sorted(found)):
        if not key.startswith("hidden/"):
            c = coarse(found[key].shape, 1.0, 1000 + seed)
            if "attention_mask" in inputs and found[key].ndim == 3:
                c = c * inputs["attention_mask"][..., None]
            cotangents[key] = c
    sum((found[key] * c).sum() for key, c in cotangents.items()).backward()
    arrays = {f"weight/{key}": value for key, value in as_file(model).items()}
    arrays |= {f"input/{key}": value for key, value in (given or inputs).items()}
    arrays |= {f"input/cotangent/{key}": value for key, value in cotangents.items()}
    arrays |= {f"output/{key}": value.detach() for key, value in found.items()}
    for p in model.parameters():
        p.data = torch.zeros_like(p) if p.grad is None else p.grad
    for key, value in as_file(model).items():
        arrays[f"grad_norm/{key}"] = value.double().norm()
        if re.search(keep, key):
            arrays[f"grad/{key}"] = value
    save(name, arrays, config)


def hidden(answer, start=0, final=False):
    """The hidden states by number. final: whether the last of them is that after the last norm."""
    states = list(answer.hidden_states)
    last = {"hidden/final": states.pop()} if final else {}
    return {f"hidden/{i}": h for i, h in enumerate(states, start)} | last


def tokens(vocabulary, shape, seed):
    """Not 0, whose row PyTorch keeps from learning where it is the padding."""
    return torch.tensor(np.random.default_rng(seed).integers(1, vocabulary, shape))


def bert(name, **given):
    """BertForPreTraining on rows with padding at the end, in the middle, and none."""
    config = dict(
        vocab_size=97,
        hidden_size=40,
        num_hidden_layers=3,
        num_attention_heads=5,
        intermediate_size=56,
        max_position_embeddings=19,
        type_vocab_size=3,
        hidden_act="gelu",
        layer_norm_eps=1e-12,
    )
    config |= given
    model = transformers.BertForPreTraining(transformers.BertConfig(**config))
    shake(model, 0.2)
    B, T = 3, 11
    mask = torch.ones(B, T, dtype=torch.long)
    mask[1, 9:] = 0
    mask[2, 4:7] = 0
    inputs = dict(
        input_ids=tokens(config["vocab_size"], (B, T), 1),
        token_type_ids=tokens(config["type_vocab_size"], (B, T), 2),
        attention_mask=mask,
    )
    record(
        name,
        model,
        inputs,
        lambda a: hidden(a) | {"mlm": a.prediction_logits, "nsp": a.seq_relationship_logits},
        config,
        keep=r"(position|type)_embeddings|layer\.0\.attention\.self\.query|layer\.0\.\S*output\.dense\.bias"
        r"|seq_relationship|predictions\.bias|pooler\S*weight",
    )


class Torch(torch.nn.Module):
    """PyTorch's own TransformerEncoder between tables of words and places and one logit of the mean."""

    def __init__(self, vocabulary, places, width, heads, hidden, layers):
        super().__init__()
        layer = torch.nn.TransformerEncoderLayer(width, heads, hidden, batch_first=True)
        self.words = torch.nn.Embedding(vocabulary, width)
        self.places = torch.nn.Parameter(torch.zeros(places, width))
        self.encoder = torch.nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.label = torch.nn.Linear(width, 1)

    def forward(self, input_ids, output_hidden_states):
        states = [self.words(input_ids) + self.places[: input_ids.shape[1]]]
        for layer in self.encoder.layers:
            states.append(layer(states[-1]))
        assert torch.allclose(states[-1], self.encoder(states[0]))
        return types.SimpleNamespace(hidden_states=states, logits=self.label(states[-1].mean(1)))

    def save_pretrained(self, folder):
        save_file(self.state_dict(), f"{folder}/model.safetensors")


def torch_encoder(name):
    """Rows without padding: TransformerEncoder is given no mask."""
    config = dict(vocabulary=97, places=19, width=24, heads=4, hidden=40, layers=2)
    record(
        name,
        Torch(**config),
        dict(input_ids=tokens(config["vocabulary"], (3, 11), 6)),
        lambda a: hidden(a) | {"label": a.logits},
        config,
        keep=r"places|layers\.0\.(self_attn\.(in_proj_weight|out_proj)|linear1\.bias|norm)|label",
    )


def vision(name, kind, **given):
    """Vision transformers on oblong images."""
    config = dict(
        hidden_size=36,
        num_hidden_layers=3,
        num_attention_heads=3,
        intermediate_size=50,
        image_size=(20, 28),
        patch_size=4,
        num_channels=3,
        layer_norm_eps=1e-6,
    )
    config |= given
    classes = dict(
        vit=(transformers.ViTForImageClassification, transformers.ViTConfig),
        vit_pooler=(transformers.ViTModel, transformers.ViTConfig),
        deit=(transformers.DeiTForImageClassificationWithTeacher, transformers.DeiTConfig),
    )
    model, settings = classes[kind]
    model = model(settings(**config))
    shake(model, 0.2, special=[(r"patch_embeddings", 0.0, 0.1)])
    images = coarse((2, 3, 20, 28), 1.0, 3)
    read = dict(
        vit=lambda a: {"logits": a.logits},
        vit_pooler=lambda a: {"final": a.last_hidden_state, "pooled": a.pooler_output},
        deit=lambda a: {"cls": a.cls_logits, "distillation": a.distillation_logits},
    )[kind]
    record(
        name,
        model,
        dict(pixel_values=images),
        lambda a: hidden(a) | read(a),
        config,
        keep=r"cls_token|distillation_token|position_embeddings|patch_embeddings\S*bias|classifier|pooler\S*bias"
        r"|layer\.0\.attention\.attention\.query",
        given=dict(images=images.permute(0, 2, 3, 1)),
    )


DYNAMICS = [  # the decay, the step and the skip of Mamba-2, and filters that are not tiny
    (r"A_log$", 0.5, 0.5),
    (r"dt_bias$", -1.0, 0.7),
    (r"\.D$", 1.0, 0.5),
    (r"conv1d\.weight$", 0.2, 0.3),
]


def mamba2(name, **given):
    """Mamba2ForCausalLM at a length that its chunks do not divide."""
    config = dict(
        vocab_size=61,
        hidden_size=18,
        num_hidden_layers=3,
        num_heads=6,
        head_dim=6,
        expand=2,
        state_size=8,
        n_groups=2,
        chunk_size=4,
        conv_kernel=4,
        use_conv_bias=True,
        use_bias=False,
        layer_norm_epsilon=1e-5,
        tie_word_embeddings=False,
    )
    config |= given
    model = transformers.Mamba2ForCausalLM(transformers.Mamba2Config(**config))
    shake(model, 0.25, special=DYNAMICS)
    record(
        name,
        model,
        dict(input_ids=tokens(config["vocab_size"], (2, 15), 4)),
        lambda a: hidden(a, start=1, final=True) | {"logits": a.logits},
        config,
        keep=r"embeddings|layers\.0\.mixer\.(A_log|dt_bias|D|conv1d|norm)|layers\.2\.mixer\.in_proj|norm_f",
    )


def hybrid(name, **given):
    """NemotronHForCausalLM: Mamba-2, grouped-query attention without positions, squared ReLU."""
    config = dict(
        vocab_size=61,
        hidden_size=24,
        layers_block_type=["linear_attention", "mlp", "full_attention", "linear_attention", "mlp"],
        tie_word_embeddings=False,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=40,
        mlp_hidden_act="relu2",
        ssm_state_size=8,
        mamba_num_heads=6,
        mamba_head_dim=8,
        n_groups=2,
        chunk_size=4,
        conv_kernel=4,
        layer_norm_epsilon=1e-5,
    )
    config |= given
    model = transformers.NemotronHForCausalLM(transformers.NemotronHConfig(**config))
    shake(model, 0.25, special=DYNAMICS)
    record(
        name,
        model,
        dict(input_ids=tokens(config["vocab_size"], (2, 15), 5), use_cache=False),
        lambda a: hidden(a, final=True) | {"logits": a.logits},
        config,
        keep=r"embeddings|layers\.0\.mixer\.(A_log|dt_bias|D|conv1d|norm)|layers\.2\.mixer\.k_proj|norm_f",
        given=dict(input_ids=tokens(config["vocab_size"], (2, 15), 5)),
    )


def positions(name):
    """Position schemes alone: T5 buckets and biased attention, ALiBi, rotary, sines of a grid."""
    arrays, ahead = {}, torch.arange(-400, 401)
    arrays["t5/ahead"] = ahead
    for buckets, reach in ((32, 128), (20, 50)):
        for sides in (1, 2):
            arrays[f"t5/buckets/{buckets}/{reach}/{sides}"] = T5Attention._relative_position_bucket(
                ahead, bidirectional=sides == 2, num_buckets=buckets, max_distance=reach
            )
    config = transformers.T5Config(
        d_model=20,
        d_kv=6,
        num_heads=3,
        relative_attention_num_buckets=12,
        relative_attention_max_distance=18,
    )
    attention = T5Attention(config, has_relative_attention_bias=True).eval()
    shake(attention, 0.4)
    x = coarse((2, 23, 20), 0.7, 7)
    bias = attention.compute_bias(23, 23)
    arrays["t5/attention/x"] = x
    arrays["t5/attention/y"] = attention(x, position_bias=bias)[0].detach()
    arrays["t5/attention/bias"] = bias.detach()[0]
    arrays |= {f"t5/attention/weight/{k}": v.detach() for k, v in attention.named_parameters()}
    for heads in (8, 12, 5):
        line = build_alibi_tensor(torch.ones(1, 3, dtype=torch.long), heads, torch.float32)
        arrays[f"alibi/slopes/{heads}"] = line[:, 0, 1] - line[:, 0, 0]
    q, k = coarse((2, 3, 11, 10), 1.0, 8), coarse((2, 1, 11, 10), 1.0, 9)
    places = torch.tensor([[*range(11)], [5, 900, 3, 0, 8191, 2, 1, 70, 64, 63, 4]])
    arrays |= {"rope/q": q.transpose(1, 2), "rope/k": k.transpose(1, 2), "rope/positions": places}
    for theta in (10_000.0, 160_000.0):
        config = transformers.LlamaConfig(
            hidden_size=30,
            num_attention_heads=3,
            head_dim=10,
            rope_parameters=dict(rope_type="default", rope_theta=theta),
        )
        turned = apply_rotary_pos_emb(q, k, *LlamaRotaryEmbedding(config)(q, places))
        for key, value in zip("qk", turned, strict=True):
            arrays[f"rope/{theta:.0f}/{key}"] = value.transpose(1, 2)
    # rows first, then columns; in the masked-autoencoder paper's own code columns come first
    arrays["grid/5/7/24"] = build_2d_sinusoidal_position_embedding(5, 7, 24)
    save(
        name,
        arrays,
        dict(t5="d_kv 6, 3 heads, 12 buckets, reach 18", grid="height, width, channels"),
    )


def resize(name):
    """A table over 5 x 4 cells at larger, smaller and mixed sizes, by each way of interpolating."""
    table = coarse((5, 4, 3), 1.0, 0)
    arrays = {"table": table}
    for size in ((7, 9), (2, 3), (3, 8), (10, 8)):
        for method in ("nearest", "bilinear", "bicubic", "bilinear_antialiased", "bicubic_antialiased"):
            mode, _, antialiased = method.partition("_")
            how = {} if mode == "nearest" else dict(align_corners=False, antialias=bool(antialiased))
            y = torch.nn.functional.interpolate(table.permute(2, 0, 1)[None], size=size, mode=mode, **how)
            arrays[f"{method}/{size[0]}x{size[1]}"] = y[0].permute(1, 2, 0)
    save(name, arrays, dict(table="rows, columns, channels"))


GOLDENS = {
    "bert": bert,
    "bert_relu": lambda name: bert(
        name,
        hidden_act="relu",
        num_hidden_layers=1,
        layer_norm_eps=1e-3,
        hidden_size=24,
        num_attention_heads=2,
    ),
    "bert_gelu_tanh": lambda name: bert(
        name,
        hidden_act="gelu_new",
        num_hidden_layers=2,
        layer_norm_eps=1e-5,
        hidden_size=28,
        num_attention_heads=7,
    ),
    "torch_encoder": torch_encoder,
    "vit": lambda name: vision(name, "vit", num_labels=11, layer_norm_eps=0.05),
    "vit_pooler": lambda name: vision(name, "vit_pooler", num_hidden_layers=1, pooler_act="tanh"),
    "deit": lambda name: vision(name, "deit", num_labels=7, num_hidden_layers=1),
    "mamba2": mamba2,
    "mamba2_one_group": lambda name: mamba2(
        name, n_groups=1, chunk_size=256, num_hidden_layers=1, tie_word_embeddings=True
    ),
    "hybrid": hybrid,
    "positions": positions,
    "resize": resize,
}

if __name__ == "__main__":
    torch.manual_seed(0)
    for chosen in sys.argv[1:] or GOLDENS:
        GOLDENS[chosen](chosen)
