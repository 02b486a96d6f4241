"""Fine-tuning for text classification: a pre-trained encoder with a new layer on its pooled first token.

Devlin, Chang, Lee, Toutanova, "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding",
2019, sections 4.1 and A.3. The tasks: Warstadt et al. 2019 (CoLA) and Socher et al. 2013 (SST-2), as files of GLUE.

Reproduced: the network and the recipe (32 rows, 3 epochs, warm-up over a tenth of the steps, linear decay, 2e-5). The
paper chooses the best of four learning rates on the development data, which needs a run for each.
Command: xfm train text/finetune_classification:cola --workdir runs/cola --config.data.path=GLUE/CoLA \
  --config.start.source=FOLDER_OR_NAME_OF_A_CHECKPOINT
Own data: variant `base`, --config.data.path=FILE (columns `text` and `label` of a .tsv, .csv, .jsonl or .parquet), and
the number of classes as --config.objective.classes and --config.model.heads.label.classes.
Cost: an hour on one accelerator at most.  Result: not run at scale.
`tiny` is for two CPU cores and starts from random weights: which module a paragraph of a docstring comes from.
"""

from ml_collections import ConfigDict

from xfm.configs.text import bert
from xfm.data.glue import LAYOUTS
from xfm.structures.pretrained import network

PAPER = "Devlin et al. 2019, BERT, section 4.1: GLUE's single sentences"
ORACLE = "sequence classification of transformers (goldens of tests/hub); scores by scikit-learn"
MARGIN = 1.0  # nats
SCORES = {"cola": ("accuracy", "matthews"), "sst2": ("accuracy",)}
VARIANTS = ("tiny", "base", *SCORES)
PARAMETERS = dict.fromkeys(("base", *SCORES), 109_483_778)  # those of transformers' classifier with two classes


def get_config(arg="base"):
    c = recipe(heads=classifier(classes=2), fresh=CLASSIFIER, rows=LAYOUTS[arg].rows if arg in LAYOUTS else 10_000)
    c.objective = dict(kind="classification", classes=2)
    c.evals = [dict(kind="classes", scores=SCORES.get(arg, ("accuracy", "macro_f1")))]
    c.data.update(kind="labelled", path="data", layout=arg if arg in LAYOUTS else None)
    return tiny(c) if arg == "tiny" else c


CLASSIFIER = ("^head_(label|pooled)/",)  # parameters of `classifier` that a checkpoint need not have


def classifier(classes):
    """The spec of the classification head: that of the checkpoint's family. BERT's is a dense layer on [CLS], which
    checkpoints have, and a new linear layer.
    """
    return dict(label=head("classification", classes=classes, drop=0.1, pool=dict(kind="of_head", head="pooled")))


def head(kind, pool=None, **fields):
    """The spec of a head of the checkpoint's family; without a checkpoint, of this kind and with this pool."""
    return dict(kind="pretrained", default=dict(kind=kind, **(dict(pool=pool) if pool else {})), **fields)


def recipe(heads, rows, fresh=(), epochs=3, batch=32, peak=2e-5, length=128):
    """The recipe of section A.3, for BERT-base or the checkpoint that `start` names.

    rows: of the training data, which with the batch determine the number of steps.
    fresh: regexes of the heads' parameters that a checkpoint need not have.
    """
    c = ConfigDict()
    c.start = dict(source=None, head=None, drop=0.1, fresh=fresh)
    default = bert.network(*bert.SIZES["base"], vocab=30522, length=512, drop=0.1)
    default["heads"] = dict(pooled=default["heads"]["pooled"])
    c.model = dict(kind="pretrained", default=default, heads=heads)
    c.init = [(r"(kernel|embedding|table)$", dict(kind="truncated_normal", std=0.02))]
    c.data = dict(length=length, tokenizer=dict(kind="wordpiece", size=30522))
    c.batch, c.steps = batch, epochs * -(-rows // batch)
    c.optimiser = dict(kind="adamw", b1=0.9, b2=0.999, eps=1e-6, weight_decay=0.01)
    c.schedule = dict(kind="linear", peak=peak, warmup=c.steps // 10)
    c.log_every, c.eval_every, c.save_every = 50, max(c.steps // epochs, 1), max(c.steps // epochs, 1)
    return c


def small(c, length, batch, steps, peak, layers=2, width=128, vocab=4096):
    """Sets a small network for two cores with random initial weights, and with the same heads."""
    tiny = bert.network(layers, width, 4, vocab=vocab, length=length)
    c.model = network(dict(c.model.to_dict(), default=tiny))
    c.init = [(r"(kernel|embedding|table)$", dict(kind="truncated_normal", std=0.08))]
    c.data.update(path=None, length=length, tokenizer=dict(kind="wordpiece", size=vocab))
    c.batch, c.steps = batch, steps
    c.optimiser.update(b2=0.98)
    c.schedule = dict(kind="linear", peak=peak, warmup=steps // 10)
    c.log_every, c.eval_every, c.save_every = 20, steps // 2, steps // 2
    return c


def tiny(c):
    c = small(c, length=64, batch=32, steps=320, peak=1e-3)
    c.objective.classes = c.model.heads.label.classes = 12
    return c
