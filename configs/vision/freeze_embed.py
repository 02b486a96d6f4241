"""Fine-tuning with plain SGD: the patches' layer is frozen, and no state of an optimiser is kept.

Kumar, Shen, Bubeck, Gunasekar, "How to Fine-Tune Vision Models with SGD", 2022, section 4: SGD lags behind AdamW where
the first layer's gradients are much larger than the others', and no longer does once that layer is frozen.

Reproduced: the three optimisers compared there, SGD without momentum (`sgd`), with it (`momentum`), and AdamW
(`adamw`), all with frozen patches; the log has the gradient's norm of the embedding and of the rest. The paper chooses
learning rates by validation; those here are from memory, in the middle of its range.
Command: xfm train configs/vision/freeze_embed.py:sgd --workdir runs/mine --config.data.path=FOLDER_OF_CLASS_FOLDERS \
  --config.start.source=FOLDER_OR_NAME_OF_A_CHECKPOINT_OR_RUN
Bytes for each trained parameter, with its weight and gradient: 8, 12 and 16.
Cost: minutes on one accelerator for a data set of ten thousand images.  Result: not run at scale.
`tiny` is for two CPU cores and starts from random weights, as vision/finetune's (tiny run: accuracy 0.77).
"""

from xfm.configs.vision import finetune

PAPER = "Kumar et al. 2022, How to Fine-Tune Vision Models with SGD"
ORACLE = "frozen parameters keep their bits; bytes of the optimisers' states by count (tests/train)"
MARGIN = 0.5  # nats
OPTIMISERS = {
    "sgd": (dict(kind="sgd", momentum=0.0), 3e-2),
    "momentum": (dict(kind="sgd", momentum=0.9), 3e-3),
    "adamw": (dict(kind="adamw", weight_decay=0.01), 3e-5),
}
VARIANTS = ("tiny", *OPTIMISERS)
PARAMETERS = dict.fromkeys(OPTIMISERS, finetune.PARAMETERS["B"])
FROZEN = (r"^embed/(stem/)?patch/",)


def get_config(arg="sgd"):
    c = finetune.get_config("tiny" if arg == "tiny" else "B")
    c.optimiser, peak = OPTIMISERS["momentum" if arg == "tiny" else arg]
    c.freeze, c.layer_decay = FROZEN, None
    c.norms = dict(embed="^embed/", rest="^(?!embed/)")
    c.clip = 1.0
    if arg == "tiny":
        c.schedule = dict(kind="cosine", peak=0.2, warmup=20)
        c.objective.update(mixup=0.0, cutmix=0.0, smoothing=0.0)
        return c
    c.batch, c.steps = 128, 20_000
    c.objective.update(mixup=0.0, cutmix=0.0, smoothing=0.0)
    c.schedule = dict(kind="cosine", peak=peak)
    c.log_every, c.eval_every, c.save_every = 50, 1000, 1000
    return c
