"""Fine-tuning for extractive question answering; long texts are read in overlapping windows.

Devlin, Chang, Lee, Toutanova, "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding",
2019, sections 4.2 and 4.3, on Rajpurkar et al. 2016 (SQuAD) and Rajpurkar, Jia, Liang 2018 (SQuAD 2.0).

Reproduced: the network; rows of 384 tokens, 128 apart; 32 rows, 3 epochs at 5e-5 (2.0: 48 rows, 2 epochs at 5e-5).
Command: xfm train text/finetune_span:squad --workdir runs/squad --config.data.path=FOLDER_OF_SQUAD/train-v1.1.json \
  --config.data.validation=dev-v1.1.json --config.start.source=FOLDER_OR_NAME_OF_A_CHECKPOINT
Cost: an hour or two on one accelerator.  Result: not run at scale.
`tiny` is for two CPU cores and starts from random weights: the position in a function's source of the parameter that a
sentence of its docstring names.
"""

from xfm.configs.text import finetune_classification as single

PAPER = "Devlin et al. 2019, BERT, sections 4.2 and 4.3: SQuAD"
ORACLE = "question answering of transformers (goldens of tests/hub); exact match and F1 as SQuAD defines them"
MARGIN = 0.9  # nats
# The number of rows of 384 tokens in the training files, rounded, which determines the number of steps.
ROWS = {"squad": 88_600, "squad2": 132_000}
VARIANTS = ("tiny", "squad", "squad2")
PARAMETERS = dict.fromkeys(ROWS, 108_893_186)  # those of transformers' BertForQuestionAnswering


def get_config(arg="squad"):
    two = arg == "squad2"
    span, rows = dict(span=single.head("span")), ROWS.get(arg, 0)
    epochs, batch = (2, 48) if two else (3, 32)
    c = single.recipe(span, rows, fresh=("^head_span/",), epochs=epochs, batch=batch, peak=5e-5, length=384)
    c.objective = dict(kind="span")
    c.evals = [dict(kind="spans", longest=30)]
    c.data.update(kind="spans", path="train.json", validation="dev.json", stride=128, question=64)
    return tiny(c) if arg == "tiny" else c


def tiny(c):
    c = single.small(c, length=96, batch=32, steps=200, peak=2e-3)
    del c.data["validation"]
    c.data.update(validation=0.1, stride=48, question=32)
    return c
