"""Fine-tuning for tagging of words: named entities, parts of speech.

Devlin, Chang, Lee, Toutanova, "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding",
2019, section 5.3, on Tjong Kim Sang, De Meulder, "Introduction to the CoNLL-2003 Shared Task", 2003.

Reproduced: a linear layer on each word's first token, scored by whole entities. Different from the paper: there is no
context from neighbouring sentences.
Command: xfm train text/finetune_tagging:conll2003 --workdir runs/ner --config.data.path=CONLL/eng.train \
  --config.data.validation=eng.testa --config.start.source=FOLDER_OR_NAME_OF_A_CHECKPOINT
Own data: variant `base`, --config.data.path=FILE, and the number of tags as --config.objective.classes and
--config.model.heads.tags.classes; parts of speech are scored by --config.evals.0.scores="('accuracy',)".
Cost: minutes on one accelerator.  Result: not run at scale.
`tiny` is for two CPU cores and starts from random weights: the kinds of the words in a line of Python.
"""

from xfm.configs.text import finetune_classification as single

PAPER = "Devlin et al. 2019, BERT, section 5.3: CoNLL-2003"
ORACLE = "token classification of transformers (goldens of tests/hub); entities counted as conlleval's worked examples"
MARGIN = 1.2  # nats
VARIANTS = ("tiny", "base", "conll2003")
PARAMETERS = {"conll2003": 108_898_569}  # those of transformers' token classifier with nine tags
CONLL2003 = tuple(["O", *(f"{prefix}-{kind}" for kind in ("LOC", "MISC", "ORG", "PER") for prefix in "BI")])
ROWS = 14_041


def get_config(arg="base"):
    conll = arg == "conll2003"
    classes = len(CONLL2003) if conll or arg == "base" else 10
    tags = dict(tags=single.head("tagging", classes=classes, drop=0.1))
    c = single.recipe(tags, rows=ROWS, fresh=("^head_tags/",), peak=5e-5)
    c.objective = dict(kind="tagging", classes=classes)
    c.evals = [dict(kind="tags", scores=("entities",))]
    c.data.update(kind="tagged", path="data", stride=64, classes=CONLL2003 if conll else ())
    return tiny(c) if arg == "tiny" else c


def tiny(c):
    c = single.small(c, length=64, batch=32, steps=200, peak=2e-3)
    c.data.update(stride=40)
    return c
