"""NomicBERT: type ids, a free head width, another rotary base and activation, each head."""

from tests.hub.cases import Case

SMALL = dict(vocab_size=47, hidden_size=20, num_hidden_layers=3, num_attention_heads=2, intermediate_size=14,
             max_position_embeddings=19, type_vocab_size=3, pad_token_id=0)  # fmt: skip
ODD = dict(SMALL, num_hidden_layers=2, head_dim=6, hidden_act="gelu", layer_norm_eps=1e-5, hidden_size=16,
           rope_parameters=dict(rope_type="default", rope_theta=60.0))  # fmt: skip

CASES = {
    "nomic_bert_mlm": Case("NomicBertForMaskedLM", SMALL, types=True),
    "nomic_bert_mlm_gelu": Case("NomicBertForMaskedLM", ODD, padding="left"),
    "nomic_bert_model": Case("NomicBertModel", ODD, padding="right", length=19),
    "nomic_bert_labels": Case("NomicBertForSequenceClassification", dict(ODD, num_labels=5), types=True),
    "nomic_bert_tags": Case("NomicBertForTokenClassification", dict(ODD, num_labels=4), padding="right"),
}
