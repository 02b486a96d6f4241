"""BigBird: attention in full with padding; block-sparse in rows that fill their blocks or do not; each head.

Block-sparse without padding, since the reference counts it into blocks. In evaluation its random blocks are all the
first one. The head for questions with a separator in its rows, twice or not at all, with types given and without.
"""

from tests.hub.cases import Case

FULL = dict(vocab_size=53, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=28,
            max_position_embeddings=29, type_vocab_size=3, attention_type="original_full", sep_token_id=4)  # fmt: skip
SPARSE = dict(FULL, attention_type="block_sparse", block_size=2, num_random_blocks=2, hidden_act="relu")
FEW = dict(SPARSE, block_size=3, num_random_blocks=1, layer_norm_eps=1e-5)
QUESTION = [[9, 17, 4, 22, 31, 8, 4, 40, 11, 4], [11, 8, 30, 41, 9, 4, 22, 19, 33, 4], [21] * 3 + [7, 14] * 3 + [50]]

CASES = {
    "bigbird_pretraining": Case("BigBirdForPreTraining", FULL, types=True),
    "bigbird_mlm": Case("BigBirdForMaskedLM", SPARSE, padding="none", length=23, rows=2, keep="query"),
    "bigbird_model": Case("BigBirdModel", FEW, padding="none", length=24, types=True, rows=2, keep="value"),
    "bigbird_labels": Case("BigBirdForSequenceClassification", dict(SPARSE, num_labels=5), padding="right", length=18),
    "bigbird_choice": Case("BigBirdForMultipleChoice", FULL, choices=2, rows=2),
    "bigbird_span": Case("BigBirdForQuestionAnswering", FULL, padding="right", length=10,
                         inputs={"input_ids": QUESTION}, keep="qa_classifier"),
    "bigbird_span_sparse": Case("BigBirdForQuestionAnswering", FEW, padding="none", length=24, rows=2, types=True,
                                lowest=4),
}  # fmt: skip
