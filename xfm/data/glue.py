"""The layouts of GLUE's files as they are downloaded: the names of their columns, files and classes.

Wang et al., "GLUE: A Multi-Task Benchmark and Analysis Platform for Natural Language Understanding" (2019).
"""

import dataclasses
from collections.abc import Sequence

from xfm.data.tables import Shape
from xfm.fields import Name


@dataclasses.dataclass(frozen=True)
class Layout:
    """The files of one task.

    texts, label: names of columns.  classes: names in the order of their numbers; empty if the label is a number.
    train, valid: names of files in the task's folder.  shape: how their lines are read.
    rows: the published number of rows of the training file.
    """

    texts: Sequence[str]
    label: Name = "label"
    classes: Sequence[str] = ("0", "1")
    train: str = "train.tsv"
    valid: str = "dev.tsv"
    shape: Shape = Shape()
    rows: int = 0


SENTENCES = ("sentence1", "sentence2")
FOLLOWS = ("entailment", "not_entailment")
NLI = ("contradiction", "entailment", "neutral")

LAYOUTS = {
    "cola": Layout(("sentence",), shape=Shape(("source", "label", "star", "sentence")), rows=8_551),
    "sst2": Layout(("sentence",), rows=67_349),
    "mrpc": Layout(("#1 String", "#2 String"), "Quality", rows=3_668),
    "stsb": Layout(SENTENCES, "score", classes=(), rows=5_749),
    # A few lines of this file lack columns.
    "qqp": Layout(("question1", "question2"), "is_duplicate", shape=Shape(ragged="skip"), rows=363_846),
    "mnli": Layout(SENTENCES, "gold_label", NLI, valid="dev_matched.tsv", rows=392_702),
    "mnli_mismatched": Layout(SENTENCES, "gold_label", NLI, valid="dev_mismatched.tsv", rows=392_702),
    "qnli": Layout(("question", "sentence"), classes=FOLLOWS, rows=104_743),
    "rte": Layout(SENTENCES, classes=FOLLOWS, rows=2_490),
    "wnli": Layout(SENTENCES, rows=635),
}
