"""AdapterBias: fine-tuning of a frozen encoder by one vector per layer, added to each token with a weight of its own.

Fu, Chen, Lee, Lee, "AdapterBias: Parameter-efficient Token-dependent Representation Shift for Adapters in NLP Tasks",
2022, section 3. The trained parameters and the recipe are those of the authors' release: the vectors, the linear layers
that compute the weights, the norms after the embedding and after each feed-forward part, and the classifier on the
frozen pooler.

Reproduced: the network and the recipe (AdamW at 1e-4, 32 rows, 100 epochs, 512 tokens, dropout of 0.5 before the
classifier). Different from the paper: dropout is also applied to the added vector, and the last epoch is taken instead
of the best one.
Command: xfm train text/adapter_bias:cola --workdir runs/cola --config.data.path=GLUE/CoLA \
  --config.start.source=FOLDER_OR_NAME_OF_A_CHECKPOINT
Own data: variant `base`, as in text/finetune_classification.
Cost: hours on one accelerator.  Result: not run at scale.
`tiny` is for two CPU cores and starts from random weights, so its embedding is also trained, and the layers keep their
random weights: which module a paragraph of a docstring comes from.
"""

from xfm.configs.text import finetune_classification as single

PAPER = "Fu et al. 2022, AdapterBias"
ORACLE = (
    "its formula in NumPy; the same outputs after merging; 174,104 trained numbers for BERT-large (0.17M from memory)"
)
MARGIN = 1.0  # nats
SCORES = single.SCORES
VARIANTS = single.VARIANTS
PARAMETERS = {variant: count + 12 * (768 + 3072 + 1) for variant, count in single.PARAMETERS.items()}
NORMS = (r"^embed/norm/", r"/mlp_\d+/out_norm/")


def get_config(arg="base"):
    c = single.get_config(arg)
    c.transforms = [dict(kind="adapter_bias")]
    c.train_only = ("^own/", *NORMS, "^head_label/")
    c.decay = [(r"^own/.*/vector$", 1.0)]
    if arg == "tiny":
        return tiny(c)
    c.model.heads.label.drop = 0.5
    c.data.length = 512
    c.steps = c.steps // 3 * 100
    c.optimiser = dict(kind="adamw", weight_decay=0.01)
    c.schedule = dict(kind="constant", peak=1e-4)
    return c


def tiny(c):
    c.train_only = (*c.train_only, "^embed/")
    c.steps = 200
    c.schedule = dict(kind="linear", peak=1e-2, warmup=20)
    c.eval_every = c.save_every = 100
    return c
