"""CLIP: an encoder of images and one of captions, trained so that what belongs together has similar vectors.

Radford, Kim, Hallacy, Ramesh, Goh, Agarwal, Sastry, Askell, Mishkin, Clark, Krueger, Sutskever, "Learning Transferable
Visual Models From Natural Language Supervision", 2021.

Reproduced: the vision transformers of table 20 with their text towers, parameter for parameter, the objective (figure
3), and zero-shot classification by averaged prompts (section 3.1). The batch, the number of epochs, weight decay,
warm-up, Adam's coefficients and the rates are those of tables 18 and 20, from memory: check them before a long run.
Left out: the upper limit of 100 on what cosines are multiplied by, random crops, and the extra epoch of
`L/14@336` at larger images, of which the network alone is here.
Command: xfm train configs/vision/clip.py:B/32 --workdir runs/clip --config.data.path=FOLDER_WITH_METADATA
  The table has the columns `file_name` and `text`; see `xfm.data.captions` for other layouts.
Cost: 32 epochs of 400M pairs.  Result: not run at scale.
`tiny` is for two CPU cores: scikit-learn's digits with captions in six wordings. Result of the tiny run: 78.4 % of the
digits held out are nearest to the text of their own class (10 % by chance), after 150 steps and a minute of processor
time on a busy machine.
"""

from ml_collections import ConfigDict

from xfm.configs.text import clip_text
from xfm.configs.vision import vit

PAPER = "Radford et al. 2021, Learning Transferable Visual Models From Natural Language Supervision"
ORACLE = "transformers CLIPModel with copied weights (goldens) and its parameter counts; the loss in loops"
MARGIN = 1.0  # nats

# layers, width, heads and patch of the image tower, pixels; size of the text tower; peak rate
SIZES = {
    "B/32": (12, 768, 12, 32, 224, "B", 5e-4),
    "B/16": (12, 768, 12, 16, 224, "B", 5e-4),
    "L/14": (24, 1024, 16, 14, 224, "L", 4e-4),
    "L/14@336": (24, 1024, 16, 14, 336, "L", 2e-5),
}
VARIANTS = ("tiny", *SIZES)
# Both towers and the scale, as counted in transformers.
PARAMETERS = {"B/32": 151_277_313, "B/16": 149_620_737, "L/14": 427_616_513, "L/14@336": 427_944_193}
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
PROMPTS = ("a photo of a {}.", "a photo of the {}.", "a picture of a {}.")


def pictures(layers, width, heads, patch, size, project, eps=1e-5, activation="quick_gelu"):
    """The spec of the image tower: a norm after the embedding, none at the end, and a projected class token."""
    spec = vit.network(layers, width, heads, patch, size, 0, activation, eps=eps)
    norm = spec["norm"]
    spec["embed"] |= dict(bias=False, norm=norm)
    vector = dict(kind="normed", pool=dict(kind="cls"), norm=norm)
    projected = dict(
        kind="dense", pool=dict(kind="of_head", head="pooled"), width=project, activation="identity", bias=False
    )
    return spec | dict(
        norm=None,
        heads=dict(pooled=dict(kind="vector", pool=vector), embeds=dict(kind="vector", pool=projected)),
    )


def network(vision, text):
    """The spec of both towers, which are compared by their projected vectors."""
    vectors = dict(text="embeds", vision="embeds")
    return dict(kind="towers", towers=dict(text=text, vision=vision), vectors=vectors, scale=1 / 0.07)


def get_config(arg="B/32"):
    layers, width, heads, patch, size, text, peak = SIZES.get(arg, SIZES["B/32"])
    c = ConfigDict()
    depth, text_width, text_heads, hidden, project, vocab = clip_text.CLIP[text]
    vision = pictures(layers, width, heads, patch, size, project)
    vision["embed"]["channels"] = 3
    c.model = network(vision, clip_text.network(depth, text_width, text_heads, hidden, vocab, 77, project, end=49407))
    c.objective = dict(kind="similarity", form="softmax")
    c.evals = [dict(kind="zero_shot", prompts=PROMPTS)]
    c.data = dict(
        kind="captions", path="pairs", size=size, mean=MEAN, std=STD, length=77, validation=0.001,
        tokenizer=dict(kind="checkpoint", source="openai/clip-vit-base-patch32"),
    )  # fmt: skip
    c.batch, c.steps = 32_768, 32 * 400_000_000 // 32_768
    c.optimiser = dict(kind="adamw", b1=0.9, b2=0.98, eps=1e-6, weight_decay=0.2)
    c.schedule = dict(kind="cosine", peak=peak, warmup=2000)
    c.init = [(rf"^text/.*{path}", spec) for path, spec in clip_text.init(depth, text_width)]
    c.log_every, c.eval_every, c.save_every = 100, 10_000, 10_000
    return tiny(c) if arg == "tiny" else c


def tiny(c):
    text = clip_text.network(2, 64, 4, 128, vocab=128, length=12, project=32)
    text["heads"]["pooled"]["pool"] = dict(kind="last")  # its tokeniser's end of a caption is not the highest id
    vision = pictures(2, 64, 4, 2, 8, project=32)
    vision["embed"]["channels"] = 1
    c.model = network(vision, text)
    c.init = ()
    c.data = dict(kind="captions", length=12, validation=0.2, tokenizer=dict(kind="wordpiece", size=128))
    c.evals = [dict(kind="zero_shot", prompts=("a photograph of the digit {}", "a handwritten {}"))]
    c.objective.among = 48
    c.batch, c.steps = 64, 150
    c.optimiser.update(weight_decay=0.01)
    c.schedule = dict(kind="cosine", peak=4e-3, warmup=10)
    c.log_every, c.eval_every, c.save_every = 25, 75, 150
    return c
