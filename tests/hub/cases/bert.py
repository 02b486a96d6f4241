"""BERT: three activations, type ids, padding in the middle, each head."""

from tests.hub.cases import Case

SMALL = dict(vocab_size=61, hidden_size=24, num_hidden_layers=3, num_attention_heads=3, intermediate_size=40,
             max_position_embeddings=19, type_vocab_size=3)  # fmt: skip
ODD = dict(vocab_size=53, hidden_size=20, num_hidden_layers=2, num_attention_heads=5, intermediate_size=36,
           max_position_embeddings=16, layer_norm_eps=1e-5)  # fmt: skip

CASES = {
    "bert_pretraining": Case("BertForPreTraining", SMALL, types=True),
    "bert_mlm_relu": Case("BertForMaskedLM", dict(ODD, hidden_act="relu"), padding="left"),
    "bert_mlm_gelu_new": Case("BertForMaskedLM", dict(ODD, hidden_act="gelu_new")),
    "bert_mlm_untied": Case("BertForMaskedLM", dict(ODD, tie_word_embeddings=False), padding="right"),
    "bert_model": Case("BertModel", dict(ODD, hidden_act="silu"), length=16, padding="right"),
    "bert_labels": Case("BertForSequenceClassification", dict(SMALL, num_labels=5), types=True),
    "bert_tags": Case("BertForTokenClassification", dict(ODD, num_labels=4), padding="right"),
    "bert_span": Case("BertForQuestionAnswering", ODD, types=True, padding="right"),
    "bert_choice": Case("BertForMultipleChoice", ODD, choices=2, rows=2),
}
