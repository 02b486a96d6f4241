"""ViViT: four ways in which a transformer may attend over the space and the time of a video.

Arnab, Dehghani, Heigold, Sun, Lučić, Schmid, "ViViT: A Video Vision Transformer", 2021. Model 1 attends over all tokens
jointly. Model 2 has an encoder of frames and then one of their means over time. Model 3 attends within frames and then
over time in each layer. In model 4 one half of the heads does either.

Reproduced: the networks of table 2 with tubelets of 2 x 16 x 16, for Kinetics-400. `joint` is the network of the Hub's
ViViT-B. Different from the paper: weights start anew, not from an image model's; AdamW in place of SGD with momentum;
no augmentation.
Command: xfm train configs/vision/vivit.py:joint --workdir runs/vivit --config.data.path=KINETICS/train
Cost: 30 epochs of Kinetics-400, whose videos are read as .npy files.  Result: not run at scale.
`tiny` is for two CPU cores: model 4 says in which direction handwritten digits move, 50 seconds of processor time.
Result of the tiny run: 98 % of the videos held out are classified correctly after 200 steps.
"""

from ml_collections import ConfigDict

from xfm.configs.vision import vit

PAPER = "Arnab et al. 2021, ViViT: A Video Vision Transformer"
ORACLE = "transformers VivitForVideoClassification with copied weights (joint; goldens); table 2's parameters and FLOPs"
MARGIN = 0.8  # nats

MODELS = ("joint", "factorised_encoder", "factorised_attention", "factorised_heads")
VARIANTS = ("tiny", *MODELS)
# With 400 classes; table 2 prints 88.9, 115.1, 117.3 and 88.9 million. The first is the Hub's ViViT-B without pooler;
# each layer of model 3 has another attention and norm, model 2 four more layers; models 3 and 4 have no class token.
PARAMETERS = {
    "joint": 88_954_000, "factorised_encoder": 115_059_856, "factorised_attention": 117_319_312,
    "factorised_heads": 88_952_464,
}  # fmt: skip
TEMPORAL_LAYERS = 4  # of model 2


def network(model, layers, width, heads, size, tubelet, classes, temporal=TEMPORAL_LAYERS, drop_path=0.0):
    """The spec of a model.  size, tubelet: (frames, rows, columns)."""
    grid = tuple(side // one for side, one in zip(size, tubelet, strict=True))
    spec = vit.network(layers, width, heads, 1, grid[1:], classes, "gelu_tanh", drop_path=drop_path)
    attention, mlp = spec["pattern"]
    cls = 1 if model == "joint" else 0
    joint = dict(kind="learned_video", size=grid, first=cls)
    of_frames = dict(kind="space_time", size=grid[1:], time=0, first=0)
    position = of_frames if model == "factorised_encoder" else joint
    spec["embed"] = dict(kind="tubelets", width=width, tubelet=tubelet, cls=cls, position=position)
    space, time = (dict(kind="along", axis=axis, mixer=attention) for axis in ("space", "time"))
    if model == "factorised_attention":
        spec["pattern"] = [space, time, mlp]
    if model == "factorised_heads":
        half = dict(attention, heads=heads // 2, width=width // heads)
        biased_once = dict(half, bias=("q", "k", "v"))
        both = [dict(space, mixer=half), dict(time, mixer=biased_once)]
        spec["pattern"] = [dict(part=both), mlp]
    if model == "factorised_encoder":
        down = dict(kind="frames", cls=1, position=dict(kind="learned", length=1 + grid[0]))
        stages = [
            dict(pattern=[space, mlp], repeats=layers),
            dict(down=down, pattern=[attention, mlp], repeats=temporal),
        ]
        kept = {name: spec[name] for name in ("embed", "norms", "residual", "norm", "heads")}
        return dict(kind="pyramid", stages=stages, features=(), **kept)
    if model != "joint":
        spec["heads"]["label"]["pool"] = dict(kind="mean")
    return spec


def get_config(arg="joint"):
    c = ConfigDict()
    c.model = network(arg if arg in MODELS else "joint", 12, 768, 12, (32, 224, 224), (2, 16, 16), 400)
    c.model["embed"]["channels"] = 3
    c.objective = dict(kind="classification", classes=400)
    c.evals = [dict(kind="classes")]
    c.data = dict(
        kind="clips", array="video", shape=[32, 224, 224, 3], path="kinetics/train", validation="kinetics/val"
    )
    steps_per_epoch = 240_000 // 64
    c.batch, c.steps, c.clip = 64, 30 * steps_per_epoch, 1.0
    c.optimiser = dict(kind="adamw", b1=0.9, b2=0.999, weight_decay=0.05)
    c.schedule = dict(kind="cosine", peak=1e-3, warmup=int(2.5 * steps_per_epoch))
    c.log_every, c.eval_every, c.save_every = 50, steps_per_epoch, steps_per_epoch
    return tiny(c) if arg == "tiny" else c


def tiny(c):
    c.model = network("factorised_heads", 2, 32, 4, (4, 8, 8), (1, 4, 4), 4)
    c.objective.update(classes=4)
    c.data = dict(kind="clips", array="video", shape=[4, 8, 8, 1], validation=0.2)
    c.batch, c.steps = 64, 200
    c.schedule = dict(kind="cosine", peak=6e-3, warmup=20)
    c.log_every, c.eval_every, c.save_every = 20, 100, 200
    return c
