"""Fine-tuning for retrieval: an encoder that maps texts that belong together to similar vectors.

Karpukhin et al., "Dense Passage Retrieval for Open-Domain Question Answering", 2020, section 3.2 (in-batch negatives);
Reimers, Gurevych, "Sentence-BERT", 2019 (one encoder, mean pooling, cosine similarity; `stsb` and `triplet`);
Su, "CoSENT", 2022 (`cosent`); Gao, Zhang, Han, Callan, "Scaling Deep Contrastive Learning Batch Size under Memory
Limited Setup", 2021 (`chunks`).

Reproduced: the losses. The batch of 512 rows is encoded in 16 chunks. Different from the papers: there is one encoder
with cosine similarity, as in most later text embedders, where DPR has two encoders and the dot product.
Command: xfm train text/finetune_retrieval:base --workdir runs/retrieval --config.data.path=PAIRS.jsonl \
  --config.start.source=FOLDER_OR_NAME_OF_A_CHECKPOINT
Columns `query` and `positive`; with negatives, --config.data.texts="('query', 'positive', 'negative')" and
--config.objective.texts=3. `stsb` and `cosent` read GLUE's STS-B.
Cost: hours on one accelerator for a million pairs.  Result: not run at scale.
`tiny` is for two CPU cores and starts from random weights: which function a docstring belongs to.
"""

from xfm.configs.text import finetune_classification as single

PAPER = "Karpukhin et al. 2020, Dense Passage Retrieval; Reimers, Gurevych 2019, Sentence-BERT"
ORACLE = "the losses' formulas row by row; the cached gradient equals the plain one; eight devices equal one"
MARGIN = 1.2  # nats
FORMS = {
    "base": dict(kind="infonce", temperature=0.05, ways="query"),
    "triplet": dict(kind="triplet", margin=1.0, distance="euclidean"),
    "stsb": dict(kind="cosine"),
    "cosent": dict(kind="cosent", scale=20.0),
}
VARIANTS = ("tiny", *FORMS)
PARAMETERS = {}


def get_config(arg="base"):
    scored = arg in ("stsb", "cosent")
    rows, batch = (5_749, 32) if scored else (500_000, 512)
    c = single.recipe(dict(vector=dict(kind="vector", pool=dict(kind="mean"))), rows, batch=batch)
    c.objective = dict(kind="retrieval", form=FORMS.get(arg, FORMS["base"]), texts=3 if arg == "triplet" else 2)
    c.evals = [dict(kind="nearest")]
    c.data.update(kind="pairs", path="pairs.jsonl", texts=("query", "positive", "negative")[: c.objective.texts])
    if scored:
        c.data.update(
            path="train.tsv", validation="dev.tsv", texts=("sentence1", "sentence2"), label="score", scale=5.0
        )
    else:
        c.objective.chunks = 16
    return tiny(c) if arg == "tiny" else c


def tiny(c):
    c = single.small(c, length=32, batch=64, steps=200, peak=1e-3)
    c.data.update(texts=("query", "positive"))
    c.objective.chunks = 2
    return c
