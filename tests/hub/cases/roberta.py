"""RoBERTa, XLM-RoBERTa, CamemBERT: positions counted from the padding id, given ones, each head.

The head of masked language modelling is of the exact gelu whatever hidden_act says.
"""

from tests.hub.cases import Case

SMALL = dict(vocab_size=51, hidden_size=24, num_hidden_layers=3, num_attention_heads=3, intermediate_size=36,
             max_position_embeddings=17, type_vocab_size=3, layer_norm_eps=1e-5)  # fmt: skip
ODD = dict(vocab_size=47, hidden_size=20, num_hidden_layers=2, num_attention_heads=5, intermediate_size=28,
           max_position_embeddings=19, type_vocab_size=1, hidden_act="silu")  # fmt: skip
GIVEN = dict(position_ids=[[5, 4, 3, 2, 9, 8, 7, 6, 12, 0, 18]] * 3)  # PyTorch has no gradient for 1, the padding

CASES = {
    "roberta_mlm": Case("RobertaForMaskedLM", ODD, padding="left"),
    "roberta_model": Case("RobertaModel", dict(SMALL, pad_token_id=4), types=True),
    "roberta_labels": Case("RobertaForSequenceClassification", dict(ODD, num_labels=3), inputs=GIVEN),
    "xlm_roberta_tags": Case("XLMRobertaForTokenClassification", dict(SMALL, num_labels=4), padding="right"),
    "camembert_span": Case("CamembertForQuestionAnswering", dict(ODD, hidden_act="gelu"), padding="right"),
    "camembert_choice": Case("CamembertForMultipleChoice", ODD, choices=2, rows=2),
}
