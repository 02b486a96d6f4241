"""CANINE: padding at either end and in the middle, rows that blocks and windows do not fill, each head.

The reference lets windows and convolutions read padding, and hides a window of characters by what the next one holds;
both are matched. A block of the first layer in which all is padding gives the mean of its padding, there and here; no
case's answer depends on one, since the reference's gradient goes through that mean as if it were a softmax of scores.
"""

from tests.hub.cases import Case

SMALL = dict(hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=14, type_vocab_size=3,
             num_hash_functions=4, num_hash_buckets=23, max_position_embeddings=23,
             local_transformer_stride=8)  # fmt: skip
ODD = dict(SMALL, hidden_size=9, num_attention_heads=3, num_hash_functions=3, num_hash_buckets=21, downsampling_rate=3,
           upsampling_kernel_size=5, local_transformer_stride=5, hidden_act="relu", layer_norm_eps=1e-5,
           max_position_embeddings=21)  # fmt: skip

CASES = {
    "canine_model": Case("CanineModel", SMALL, types=True, length=22, keep="conv"),
    "canine_labels": Case("CanineForSequenceClassification", dict(ODD, num_labels=5), padding="right", length=19),
    "canine_tags": Case("CanineForTokenClassification", dict(ODD, num_labels=4), padding="left", length=14),
    "canine_span": Case("CanineForQuestionAnswering", SMALL, padding="right", length=21),
    "canine_choice": Case("CanineForMultipleChoice", ODD, padding="none", choices=2, rows=2),
}
