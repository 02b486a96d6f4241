"""Writes the golden of settings: what transformers makes of what stands beside a vocabulary or a tokenizer.json.

    oracle/bin/python -m tests.hub.make_tokenizer_settings

To be run once with release 4 and once with release 5; each puts its ids of the text into the file.
`FOLDERS` and `CASES` are what the test takes too.
"""

import json
import pathlib
import tempfile

BRACKETS = dict(pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]")
ANGLES = dict(pad_token="<pad>", unk_token="<unk>", cls_token="<s>", sep_token="</s>", mask_token="<mask>")
XLNET = dict(pad_token="<pad>", unk_token="<unk>", cls_token="<cls>", sep_token="<sep>", mask_token="<mask>")
WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] < > user the The hello Hello hallo hällo Hällo 天 天气".split()
OTHERS = "<s> <pad> </s> [UNK] <mask> <unk> <cls> <sep> the The hello Hello".split()
MERGES = "<s> <pad> </s> <unk> <mask> o s Ġ Ġo Ġos os [PAD] [UNK] [CLS] [SEP] [MASK] <|endoftext|>".split()
OUT = pathlib.Path(__file__).parents[1] / "goldens" / "hub" / "tokenizer_settings.json"


def token(content, **flags):
    usual = dict(lstrip=False, normalized=False, rstrip=False, single_word=False, special=True)
    return dict(usual, content=content, **flags)


def words(first=WORDS, lower=True, ends=("[CLS]", "[SEP]")):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    t = Tokenizer(models.WordPiece({w: i for i, w in enumerate(first)}, unk_token="[UNK]"))
    t.normalizer, t.pre_tokenizer = normalizers.BertNormalizer(lowercase=lower), pre_tokenizers.BertPreTokenizer()
    ids = [(name, first.index(name)) for name in ends]
    t.post_processor = processors.TemplateProcessing(single=f"{ends[0]} $A {ends[1]}", special_tokens=ids)
    return t


def merges(prefix=False):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    pairs = [("Ġ", "o"), ("Ġo", "s"), ("o", "s")]
    t = Tokenizer(models.BPE({w: i for i, w in enumerate(MERGES)}, pairs))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    t.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=prefix)
    return t


# name -> (model_type, tokenizer.json or vocab.txt, the special tokens)
FOLDERS = {
    "lower": ("bert", lambda: words(), BRACKETS),
    "cased": ("bert", lambda: words(lower=False), BRACKETS),
    "mpnet": ("mpnet", lambda: words(OTHERS, False, ("<s>", "</s>")), ANGLES | dict(unk_token="[UNK]")),
    "funnel": ("funnel", lambda: words(OTHERS, False, ("<cls>", "<sep>")), XLNET | dict(unk_token="[UNK]")),
    "vocabulary": ("bert", lambda: "\n".join(WORDS) + "\n", BRACKETS),
    "bare": ("roberta", lambda: merges(False), ANGLES),
    "prefixed": ("roberta", lambda: merges(True), ANGLES),
}
USER = "hello <user> the"
BERT = dict(tokenizer_class="BertTokenizer", do_lower_case=True)
FAST = dict(tokenizer_class="PreTrainedTokenizerFast")
ROBERTA = dict(tokenizer_class="RobertaTokenizer")
# what -> (folder, settings, text[, other files])
CASES = {
    "decoder": ("lower", BERT | dict(added_tokens_decoder={"17": token("<user>")}), USER),
    "decoder, fast": ("lower", FAST | dict(added_tokens_decoder={"17": token("<user>")}), USER),
    "decoder, vocabulary": ("vocabulary", BERT | dict(added_tokens_decoder={"17": token("<user>")}), USER),
    "decoder, lstrip": ("lower", BERT | dict(added_tokens_decoder={"17": token("<user>", lstrip=True)}), USER),
    "decoder, plain": (
        "lower", BERT | dict(added_tokens_decoder={"17": dict(token("<User>"), normalized=True, special=False)}), USER,
    ),
    "decoder, single word": (
        "lower", BERT | dict(added_tokens_decoder={"17": dict(token("ell"), single_word=True)}), "hello ell",
    ),
    "additional": ("lower", BERT | dict(additional_special_tokens=["<user>"]), USER),
    "additional, fast": ("lower", FAST | dict(additional_special_tokens=["<user>", "<bot>"]), "<bot> <user> the"),
    "additional, vocabulary": ("vocabulary", BERT | dict(additional_special_tokens=["<user>"]), USER),
    "additional, an object": (
        "lower", BERT | dict(additional_special_tokens=[dict(token("<user>"), __type="AddedToken")]), USER,
    ),
    "added_tokens.json": ("lower", BERT, USER, {"added_tokens.json": {"<user>": 17}}),
    "added_tokens.json, vocabulary": ("vocabulary", BERT, USER, {"added_tokens.json": {"<user>": 17}}),
    "added_tokens.json, capitals": ("lower", BERT, "hello <USER> the", {"added_tokens.json": {"<User>": 17}}),
    "special_tokens_map.json": ("lower", BERT, USER, {
        "special_tokens_map.json": BRACKETS | dict(additional_special_tokens=["<user>"])
    }),
    "a role of its own": ("lower", BERT | dict(mask_token="<user>"), USER),
    "split": ("lower", FAST | dict(split_special_tokens=True), "hello [MASK] the"),
    "lower by default": ("cased", dict(tokenizer_class="BertTokenizer"), "Hello The"),
    "lower by default, fast": ("cased", dict(tokenizer_class="BertTokenizerFast"), "Hello The"),
    "lower by model_type": ("cased", {}, "Hello The"),
    "cased over lower": ("lower", dict(tokenizer_class="BertTokenizer", do_lower_case=False), "Hello The"),
    "DistilBERT": ("cased", dict(tokenizer_class="DistilBertTokenizer"), "Hello The"),
    "ELECTRA": ("cased", dict(tokenizer_class="ElectraTokenizer"), "Hello The"),
    "ConvBERT": ("cased", dict(tokenizer_class="ConvBertTokenizer"), "Hello The"),
    "MPNet": ("mpnet", dict(tokenizer_class="MPNetTokenizer"), "Hello The"),
    "Funnel": ("funnel", dict(tokenizer_class="FunnelTokenizer"), "Hello The"),
    "fast reads no case": ("lower", FAST | dict(do_lower_case=False), "Hello The"),
    "fast is cased": ("cased", FAST, "Hello The"),
    "accents kept": ("lower", BERT | dict(strip_accents=False), "Hällo"),
    "accents stripped": (
        "lower", dict(tokenizer_class="BertTokenizer", do_lower_case=False, strip_accents=True), "Hällo"
    ),
    "Chinese not cut": ("lower", BERT | dict(tokenize_chinese_chars=False), "天气"),
    "prefix told": ("bare", ROBERTA | dict(add_prefix_space=True), "os"),
    "prefix by default": ("prefixed", ROBERTA, "os"),
    "prefix, DeBERTa": (
        "prefixed", BRACKETS | dict(tokenizer_class="DebertaTokenizer", add_prefix_space=False), "os"
    ),
    "prefix, GPT-2": ("bare", dict(tokenizer_class="GPT2Tokenizer", add_prefix_space=True), "os"),
    "prefix, fast": ("bare", FAST, "os"),
    "class in config.json": ("cased", dict(config=dict(model_type="albert", tokenizer_class="BertTokenizer")), "Hello"),
}  # fmt: skip


def write(root, what):
    """The folder of a case; gives its config and its text."""
    folder, settings, text, *more = CASES[what]
    model, made, special = FOLDERS[folder]
    settings = dict(settings)
    config = settings.pop("config", dict(model_type=model))
    content = made()
    if isinstance(content, str):
        (root / "vocab.txt").write_text(content)
    else:
        content.add_special_tokens(sorted(set(special.values()), key=content.token_to_id))
        content.save(str(root / "tokenizer.json"))
    (root / "config.json").write_text(json.dumps(config))
    (root / "tokenizer_config.json").write_text(json.dumps(special | settings))
    for file, about in (more or [{}])[0].items():
        (root / file).write_text(json.dumps(about))
    return config, text


if __name__ == "__main__":
    import transformers

    found = {}
    for what in CASES:
        with tempfile.TemporaryDirectory() as root:
            _, text = write(pathlib.Path(root), what)
            try:
                theirs = transformers.AutoTokenizer.from_pretrained(root)
                found[what] = theirs(text)["input_ids"]
            except Exception as error:
                found[what] = type(error).__name__
    content = json.loads(OUT.read_text()) if OUT.exists() else {}
    content[transformers.__version__.split(".")[0]] = dict(version=transformers.__version__, ids=found)
    OUT.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n")
    print(OUT.name, OUT.stat().st_size, "bytes")
