"""Fine-tuning on pairs of texts that are encoded together: paraphrase, inference, similarity of sentences.

Devlin, Chang, Lee, Toutanova, "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding",
2019, sections 4.1 and A.3; the tasks of Wang et al., "GLUE", 2019: MRPC, STS-B, QQP, MNLI, QNLI, RTE and WNLI.

Reproduced: as in text/finetune_classification; STS-B is a regression with squared error.
Command: xfm train text/finetune_pair:mrpc --workdir runs/mrpc --config.data.path=GLUE/MRPC \
  --config.start.source=FOLDER_OR_NAME_OF_A_CHECKPOINT
Own data: variant `base`, --config.data.path=FILE, --config.data.texts="('premise', 'hypothesis')", and the classes as
for text/finetune_classification.
Cost: half a day on one accelerator for MNLI, minutes for RTE.  Result: not run at scale.
`tiny` is for two CPU cores and starts from random weights: whether a line of Python is indented deeper than the line
before it.
"""

from xfm.configs.text import finetune_classification as single
from xfm.data.glue import LAYOUTS

PAPER = "Devlin et al. 2019, BERT, section 4.1: GLUE's sentence pairs"
ORACLE = "sequence classification of transformers (goldens of tests/hub); scores by scikit-learn and SciPy"
MARGIN = 0.3  # nats
SCORES = {
    "mrpc": ("accuracy", "f1"), "stsb": ("pearson", "spearman"), "qqp": ("accuracy", "f1"), "mnli": ("accuracy",),
    "mnli_mismatched": ("accuracy",), "qnli": ("accuracy",), "rte": ("accuracy",), "wnli": ("accuracy",),
}  # fmt: skip
VARIANTS = ("tiny", "base", *SCORES)
PARAMETERS = {"mrpc": 109_483_778, "mnli": 109_484_547, "stsb": 109_483_009}


def get_config(arg="base"):
    layout = LAYOUTS.get(arg)
    classes = len(layout.classes) if layout else 2
    c = single.recipe(
        heads=single.classifier(classes or 1), fresh=single.CLASSIFIER, rows=layout.rows if layout else 10_000
    )
    c.data.update(kind="labelled", path="data", layout=arg if layout else None, texts=("first", "second"))
    scores = SCORES.get(arg, ("accuracy", "f1"))
    c.objective = dict(kind="classification", classes=classes)
    c.evals = [dict(kind="classes", scores=scores)]
    if layout and not classes:
        c.objective = dict(kind="regression")
        c.evals = [dict(kind="numbers", scores=scores)]
    return tiny(c) if arg == "tiny" else c


def tiny(c):
    c = single.small(c, length=48, batch=32, steps=300, peak=1e-3)
    c.data.update(task="indentation", validation=0.05)
    c.objective.classes = 3
    c.evals = [dict(kind="classes", scores=("accuracy", "macro_f1"))]
    c.model.heads.label.classes = 3
    return c
