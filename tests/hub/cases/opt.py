"""OPT: norms before, norms after with narrower tables (350M), positions that skip padding, each head."""

from tests.hub.cases import Case

SMALL = dict(vocab_size=53, hidden_size=20, num_hidden_layers=3, num_attention_heads=5, ffn_dim=28, pad_token_id=1,
             word_embed_proj_dim=20, max_position_embeddings=17, bos_token_id=2, eos_token_id=2)  # fmt: skip
NARROW = dict(SMALL, num_hidden_layers=2, word_embed_proj_dim=12, do_layer_norm_before=False)

CASES = {
    "opt_lm": Case("OPTForCausalLM", SMALL, padding="left"),
    "opt_350m_lm": Case("OPTForCausalLM", NARROW),
    "opt_350m_labels": Case("OPTForSequenceClassification", dict(NARROW, num_labels=4, activation_function="gelu"),
                            padding="right"),
    "opt_span": Case("OPTForQuestionAnswering", dict(SMALL, num_hidden_layers=1, _remove_final_layer_norm=True)),
    "opt_model": Case("OPTModel", dict(SMALL, num_hidden_layers=2, enable_bias=False), length=17, padding="none"),
}  # fmt: skip
