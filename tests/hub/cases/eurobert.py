"""EuroBERT: grouped queries, a free head width, biases, tied words, each way of pooling."""

from tests.hub.cases import Case

SMALL = dict(vocab_size=43, hidden_size=16, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
             intermediate_size=18, max_position_embeddings=32, pad_token_id=0, bos_token_id=1, eos_token_id=2,
             mask_token_id=3, rope_parameters=dict(rope_type="default", rope_theta=250.0))  # fmt: skip
ODD = dict(SMALL, num_hidden_layers=2, num_key_value_heads=1, head_dim=6, rms_norm_eps=1e-3,
           attention_bias=True, mlp_bias=True, hidden_act="gelu")  # fmt: skip
THIN = dict(SMALL, num_hidden_layers=2, num_key_value_heads=None)

CASES = {
    "eurobert_mlm": Case("EuroBertForMaskedLM", SMALL),
    "eurobert_mlm_biases": Case("EuroBertForMaskedLM", dict(ODD, tie_word_embeddings=True), padding="left"),
    "eurobert_model": Case("EuroBertModel", THIN, padding="right"),
    "eurobert_labels_late": Case("EuroBertForSequenceClassification", dict(THIN, num_labels=5)),
    "eurobert_labels_mean": Case(
        "EuroBertForSequenceClassification", dict(THIN, num_labels=3, classifier_pooling="mean")
    ),
    "eurobert_labels_bos": Case(
        "EuroBertForSequenceClassification", dict(THIN, num_labels=1, classifier_pooling="bos")
    ),
    "eurobert_tags": Case("EuroBertForTokenClassification", dict(THIN, num_labels=4), padding="right"),
}
