"""DeBERTa 1 and 2: terms, buckets, shared and own maps of distances, the convolution, each head and both of masked LM.

The references' answer at padding differs (their embedding is zero there, xfm's is not), and is compared nowhere.
"""

from tests.hub.cases import Case

SMALL = dict(vocab_size=47, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
             max_position_embeddings=19, relative_attention=True, pos_att_type=["c2p", "p2c"],
             position_biased_input=False)  # fmt: skip
# as the large files of v2 and all of v3: 4 buckets each way reach 9 tokens
V2 = dict(SMALL, position_buckets=8, max_relative_positions=9, norm_rel_ebd="layer_norm", share_att_key=True)
XLARGE = dict(V2, num_hidden_layers=3, conv_kernel_size=3, conv_act="gelu")
OWN = dict(SMALL, position_buckets=6, pos_att_type="p2c", type_vocab_size=3, position_biased_input=True)

CASES = {
    "deberta_v2_mlm": Case("DebertaV2ForMaskedLM", V2, length=15),
    "deberta_v2_lm_predictions": Case("DebertaV2ForMaskedLM", dict(XLARGE, legacy=False), padding="left"),
    "deberta_v2_labels": Case("DebertaV2ForSequenceClassification", dict(OWN, num_labels=5), types=True, length=19),
    "deberta_v2_choice": Case("DebertaV2ForMultipleChoice", dict(V2, pooler_hidden_act="tanh"), choices=2, rows=2),
    "deberta_v2_factor": Case(
        "DebertaV2ForMaskedLM",
        dict(XLARGE, embedding_size=12, conv_kernel_size=5, conv_groups=2, conv_act="tanh", num_hidden_layers=2),
    ),
    "deberta_v1_mlm": Case("DebertaForMaskedLM", SMALL, length=15),
    "deberta_v1_span": Case("DebertaForQuestionAnswering", dict(SMALL, max_relative_positions=7, pos_att_type="c2p"),
                            padding="right"),
    "deberta_v1_tags": Case(
        "DebertaForTokenClassification",
        dict(SMALL, relative_attention=False, pos_att_type=None, position_biased_input=True, type_vocab_size=2,
             num_labels=3, hidden_act="relu"),
        types=True,
    ),
}  # fmt: skip
