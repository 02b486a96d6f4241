"""Funnel: with and without decoder, odd lengths, both attention types, pooling of every kind, blocks that repeat.

Cases without a decoder give fewer tokens than they take, and are compared at all of them, padding included: there the
reference's numbers at padding reach others, as they do through the mean of a pair. Types go up to 2, which is the first
token's. Four tokens (funnel_tags) become two in the second block and stay so in the third,
which the reference's relative_shift cannot read.
"""

from tests.hub.cases import Case

SMALL = dict(vocab_size=37, d_model=12, n_head=2, d_head=6, d_inner=16, block_sizes=[1, 1, 1], num_decoder_layers=1,
             type_vocab_size=3)  # fmt: skip
WIDE = dict(SMALL, block_sizes=[1, 2], d_head=5, n_head=3, hidden_act="relu", attention_type="factorized")
REPEATS = dict(SMALL, block_sizes=[1, 2], block_repeats=[1, 2])
SHORT = dict(SMALL, block_repeats=[1, 2, 1], num_labels=4, attention_type="factorized")
PAIRED = dict(SMALL, block_sizes=[1, 1], separate_cls=False, pool_q_only=False, attention_type="factorized")

CASES = {
    "funnel_pretraining": Case("FunnelForPreTraining", SMALL, types=True, padding="right"),
    "funnel_mlm": Case("FunnelForMaskedLM", WIDE, length=14),
    "funnel_model": Case(
        "FunnelModel", dict(SMALL, truncate_seq=False, pooling_type="max"), types=True, padding="left"
    ),
    "funnel_base": Case("FunnelBaseModel", dict(REPEATS, pool_q_only=False), types=True, length=10, padding="right"),
    "funnel_labels": Case("FunnelForSequenceClassification", dict(WIDE, num_labels=5), types=True, padding="right"),
    "funnel_choice": Case("FunnelForMultipleChoice", dict(SMALL, block_sizes=[1, 1]), choices=2, rows=2),
    "funnel_tags": Case("FunnelForTokenClassification", SHORT, length=4, padding="none"),
    "funnel_span": Case("FunnelForQuestionAnswering", PAIRED, types=True, padding="right"),
}
