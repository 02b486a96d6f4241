"""AST: patches that overlap or lie apart, more bands than frames and the other way round, with each head."""

from tests.hub.cases import Case

SMALL = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40, patch_size=4,
             frequency_stride=3, time_stride=2, max_length=17, num_mel_bins=10)  # fmt: skip
ODD = dict(hidden_size=20, num_hidden_layers=3, num_attention_heads=5, intermediate_size=28, patch_size=3,
           frequency_stride=4, time_stride=3, max_length=9, num_mel_bins=12, layer_norm_eps=1e-5, qkv_bias=False,
           hidden_act="gelu_new")  # fmt: skip

CASES = {
    "ast_label": Case("ASTForAudioClassification", dict(SMALL, num_labels=5), frames=(17, 10)),
    "ast_model": Case("ASTModel", ODD, frames=(9, 12), rows=2),
    "ast_odd_label": Case("ASTForAudioClassification", dict(ODD, num_labels=3), frames=(9, 12), rows=2),
}
