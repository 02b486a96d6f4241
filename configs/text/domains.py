"""Encoders of languages and domains: published sizes and recipes, for a corpus that you provide.

Each row of RECIPES is a paper. The comment above it has the title and the year, and the source of its figures: [paper];
[card] or [file] of its release; [code] of its repository; or [memory], which has not been checked. Everything else is
ASSUMED to be the family's own recipe (of BERT, RoBERTa, ALBERT or ModernBERT); vocabulary, batch and steps are assumed
where the comment says so.

Reproduced: networks, vocabulary sizes, objectives and pre-training settings, as far as they are published.
Not reproduced: corpora and their cleaning; tokenisers (SentencePiece, lower case without accents, CuBERT's tokens of
Python), which are replaced by WordPiece and byte-level BPE; ALBERT's sentence order; LegalTurk's choice of masked words
by TF-IDF; the removal of unused rows from XLM-R's table (afro_xlmr_small has the resulting size).
Command: xfm train text/domains:greek_bert --workdir runs/greek --config.data.path=FOLDER_OF_TEXT
Rows with CONTINUED start from a checkpoint, --config.start.source=FOLDER_OR_NAME, and use its tokeniser.
oubiobert: --config.data.parts.focused.path=FOLDER --config.data.parts.other.path=FOLDER
tiny_toxic: --config.data.path=FILE with columns `text` and `label`.
Cost: greek_bert one TPU v3-8; gottbert 1.2 days on 256 TPU v3 cores (the authors).  Result: not run at scale.
`tiny` is BERT's, for two CPU cores: two minutes on the Python standard library.
"""

from xfm.configs.text import albert, bert, finetune_classification, modernbert, roberta

PAPER = (
    "GREEK-BERT 2020; Bioformer 2023; FERNET 2021; GottBERT 2020; BERTuit 2022; TunBERT 2021; CuBERT 2020; FrALBERT "
    "2021; LegalTurk 2024; AD-BERT 2022; ouBioBERT 2020; CrisisTransformers 2023; AfroXLMR 2022; Clinical ModernBERT "
    "2025; Tiny-Toxic-Detector 2024"
)
ORACLE = "published parameter counts: Bioformer-8L 42,820,610 to the last digit; PyTorch's TransformerEncoder (golden)"
MARGIN = 0.5  # nats

BASE, LARGE = (12, 768, 12), (24, 1024, 16)  # layers, width, heads
WHOLE_WORDS = dict(objective=dict(units=dict(kind="whole_word")))
CONTINUED = dict(start=dict(source=None))
# The defaults of transformers' training script.
SCRIPT = dict(
    optimiser=dict(b2=0.999, eps=1e-8, weight_decay=0.0),
    schedule=dict(kind="linear", peak=5e-5, warmup=0),
    clip=1.0,
)


def crisis(epochs, length=512, batch=8192):
    """The settings for some epochs of 15 billion words, with one token per word; the batch is assumed."""
    return dict(batch=batch, steps=int(epochs * 15e9) // (batch * length), data=dict(length=length))


# name: (family, size, vocabulary, and differences from the family's own recipe)
RECIPES = {
    # Koutsikakis et al., "GREEK-BERT: The Greeks visiting Sesame Street", 2020. [memory] size, vocabulary, recipe.
    "greek_bert": ("bert", BASE, 35_000, {}),
    # Fang et al., "Bioformer: an efficient transformer language model for biomedical text mining", 2023. [card] all.
    "bioformer_8L": ("bert", (8, 512, 8), 32_768, dict(WHOLE_WORDS, steps=2_000_000)),
    "bioformer_16L": ("bert", (16, 384, 8), 32_768, dict(WHOLE_WORDS, steps=2_000_000)),
    # Lehečka, Švec, "Comparison of Czech Transformers on Text Classification Tasks", 2021. [card] size, vocabulary of
    # C5; News 124M parameters; the vocabulary of News is that of the [file] of its Slovak sister.
    "fernet_c5": ("bert", BASE, 100_000, {}),
    "fernet_news": ("roberta", BASE, 50_000, {}),
    # Scheible et al., "GottBERT: a pure German Language Model", 2020. [memory] all.
    "gottbert": ("roberta", BASE, 52_000, dict(steps=100_000, schedule=dict(kind="linear", peak=4e-4, warmup=10_000))),
    # Huertas-Tato, Martín, Camacho, "BERTuit: Understanding Spanish language in Twitter through a native transformer",
    # 2022. [paper] RoBERTa's recipe on 230M tweets. Assumed: the base size and RoBERTa's vocabulary.
    "bertuit": ("roberta", BASE, 50_265, {}),
    # Messaoudi et al., "TunBERT: Pretrained Contextualized Text Representation for Tunisian Dialect", 2021. [code]
    # size, batch, length, rate, cosine, warm-up of 1 %; vocabulary of the network that its fine-tuning loads; steps in
    # the name of the checkpoint of the same recipe in TensorFlow.
    "tunbert": ("bert", BASE, 30_522, dict(
        batch=128, steps=616_000, data=dict(length=128), schedule=dict(kind="cosine", peak=1e-4, warmup=6_160),
    )),
    # Kanade et al., "Learning and Evaluating Contextual Embedding of Source Code" (CuBERT), 2020. [code] size, 512
    # tokens. Assumed: the vocabulary.
    "cubert": ("bert", LARGE, 50_000, {}),
    # Cattan, Servan, Rosset, "On the Usability of Transformers-based models for a French Question-Answering task",
    # 2021 (FrALBERT). [card] size, vocabulary, masking.
    "fralbert": ("albert", BASE, 32_000, {}),
    # Zeidi, Amasyali, Erol, "LegalTurk Optimized BERT for Multi-Label Text Classification and NER", 2024. [paper] BERT
    # from scratch, best without next sentences. Assumed: the vocabulary.
    "legalturk": ("bert", BASE, 32_000, dict(objective=dict(pairs="none"))),
    # Mao et al., "AD-BERT: Using Pre-trained contextualized embeddings to Predict the Progression from Mild Cognitive
    # Impairment to Alzheimer's Disease", 2022. [paper] starts from Bio+Clinical BERT. Assumed: batch, steps, length and
    # rate, from the [card] of that model about its own training.
    "ad_bert": ("bert", BASE, 28_996, dict(
        CONTINUED, batch=32, steps=150_000, data=dict(length=128),
        schedule=dict(kind="linear", peak=5e-5, warmup=10_000),
    )),
    # Wada et al., "Pre-training technique to localize medical BERT and enhance biomedical BERT", 2020. [paper] the
    # focused corpus is up-sampled to the size of the other (see MIXTURES). Assumed: the vocabulary.
    "oubiobert": ("bert", BASE, 30_522, {}),
    # Lamsal, Read, Karunasekera, "CrisisTransformers: Pre-trained language models and sentence encoders for
    # crisis-related social media texts", 2023. [card] RoBERTa's procedure, the initial weights, epochs. m1 starts from
    # random weights (vocabulary assumed), m2 from RoBERTa, m3 from BERTweet, whose 128 positions and vocabulary it has
    # [memory].
    "crisis_m1": ("roberta", BASE, 50_265, crisis(40)),
    "crisis_m2": ("roberta", BASE, 50_265, dict(CONTINUED, **crisis(20))),
    "crisis_m3": ("roberta", BASE, 64_001, dict(
        CONTINUED, model=dict(embed=dict(position=dict(length=130))), **crisis(20, length=128),
    )),
    # Alabi, Adelani, Mosbach, Klakow, "Adapting Pre-trained Language Models to African Languages via Multilingual
    # Adaptive Fine-Tuning", 2022. [card] sizes; they start from XLM-R (small: with 70k of its tokens; mini: from a
    # MiniLM of it). [code] rows of a batch; the rest as in SCRIPT. Assumed: steps; the paper has 3 epochs, which is 0.3
    # times the number of rows in a run's header. Languages by weight: data.kind="mixture", parts and power.
    "afro_xlmr_base": ("roberta", BASE, 250_002, dict(CONTINUED, **SCRIPT, batch=10, steps=300_000)),
    "afro_xlmr_large": ("roberta", LARGE, 250_002, dict(CONTINUED, **SCRIPT, batch=10, steps=300_000)),
    "afro_xlmr_small": ("roberta", BASE, 70_000, dict(CONTINUED, **SCRIPT, batch=10, steps=300_000)),
    "afro_xlmr_mini": ("roberta", (12, 384, 12), 250_002, dict(CONTINUED, **SCRIPT, batch=10, steps=300_000)),
    # Lee, Wu, Chiang, "Clinical ModernBERT: An efficient and long context encoder for biomedical text", 2025. [code]
    # both phases, from ModernBERT-base: first 128 tokens, then 8,192. Assumed: steps; the paper has 100 epochs. AdamW
    # instead of StableAdamW, as in text/modernbert.
    "clinical_modernbert": ("modernbert", "base", 50_368, dict(
        CONTINUED, batch=64, steps=150_000, data=dict(length=128),
        optimiser=dict(b2=0.999, eps=1e-8, weight_decay=0.01), schedule=dict(kind="linear", peak=8e-4, warmup=0),
    )),
    "clinical_modernbert_8192": ("modernbert", "base_8192", 50_368, dict(
        CONTINUED, batch=16, steps=50_000,
        optimiser=dict(b2=0.999, eps=1e-8, weight_decay=0.01), schedule=dict(kind="linear", peak=5e-5, warmup=0),
    )),
}  # fmt: skip
MIXTURES = {"oubiobert": dict(focused=1.0, other=1.0)}  # weights of the corpora
VARIANTS = ("tiny", *RECIPES, "tiny_toxic")
# Published: both Bioformers ("about 42 million" the larger); 110M for greek_bert, whose vocabulary implies more; 124M
# for fernet_news; 135M for BERTweet, which crisis_m3 starts from; half of XLM-R for afro_xlmr_small; 2.1M for
# tiny_toxic; 11M for fralbert, a truncation of its encoder's 11.9M. The rest is counted.
PARAMETERS = {
    "bioformer_8L": 42_820_610, "bioformer_16L": 41_502_466, "fernet_news": 124_493_648, "tunbert": 110_106_428,
    "fralbert": 12_071_810, "crisis_m2": 124_697_433, "crisis_m3": 134_965_505, "tiny_toxic": 2_120_129,
    "afro_xlmr_base": 278_295_186, "afro_xlmr_large": 560_142_482, "afro_xlmr_small": 139_873_648,
    "clinical_modernbert": 149_655_232, "clinical_modernbert_8192": 149_655_232,
}  # fmt: skip


def get_config(arg="bioformer_8L"):
    if arg == "tiny":
        return bert.get_config(arg)
    if arg == "tiny_toxic":
        return tiny_toxic()
    family, size, vocab, changes = RECIPES[arg]
    c = FAMILIES[family](size, vocab)
    c.data.tokenizer.size = vocab
    c.schedule = changes.get("schedule", c.schedule)  # replaced as a whole, since another kind has other fields
    c.update({key: value for key, value in changes.items() if key != "schedule"})
    if arg in MIXTURES:
        parts = {name: dict(path=None) for name in MIXTURES[arg]}
        c.data = c.data.to_dict() | dict(kind="mixture", parts=parts, weights=MIXTURES[arg])
        del c.data.path
    return c


def of_bert(size, vocab):
    """BERT's recipe, with next-sentence prediction."""
    c = bert.get_config("base")
    c.model = bert.network(*size, vocab, length=512, drop=0.1)
    return c


def of_roberta(size, vocab):
    c = roberta.get_config("base")
    c.model = roberta.network(*size, vocab, drop=0.1)
    return c


def of_albert(size, vocab):
    c = albert.get_config("base")
    c.model = albert.network(*size, vocab, drop=0.1)
    return c


FAMILIES = dict(
    bert=of_bert, roberta=of_roberta, albert=of_albert, modernbert=lambda phase, vocab: modernbert.get_config(phase)
)


def torch_encoder(layers, width, heads, hidden, vocab, length, drop=0.0):
    """The spec of PyTorch's TransformerEncoder with its defaults, and a head with one logit of the tokens' mean."""
    spec = bert.network(layers, width, heads, vocab, length, hidden, types=0, activation="relu", eps=1e-5, drop=drop)
    spec["embed"].update(norm=None, drop=0.0)
    spec["heads"] = dict(label=dict(kind="classification", classes=1, pool=dict(kind="mean")))
    return spec


def tiny_toxic():
    """The config of "Tiny-Toxic-Detector: A compact transformer-based model for toxic content detection", 2024.

    [card] the network, trained from random weights to classify two classes. Its mean includes padding, which is left
    out here. Assumed: length, batch, steps and rate.
    """
    c = finetune_classification.get_config("base")
    del c.start
    c.model = torch_encoder(4, 64, 2, 128, vocab=30_522, length=512, drop=0.1)
    c.init = [(r"(kernel|embedding|table)$", dict(kind="normal", std=0.02))]
    c.steps = 100_000
    c.schedule.update(peak=1e-4, warmup=10_000)
    c.eval_every = c.save_every = 10_000
    return c
