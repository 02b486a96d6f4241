"""Mistakes that the fast tests must catch, for tests/planted.py to plant one at a time.

Each is one replacement of text that stands once in its file, and the tests that are to fail by it.
"""

from typing import NamedTuple


class Mistake(NamedTuple):
    """What is wrong, in which file, the text and what replaces it, and pytest's arguments."""

    what: str
    file: str
    old: str
    new: str
    tests: str


OWED, STARTS, DROPS = (f"tests/parts/test_{name}.py" for name in ("owed", "starts", "drops"))
OPTIMISER, STEP = "tests/train/test_optimiser.py", "tests/train/test_step.py"
EMBED, RESIDUAL, POSITION, MIXER = (f"xfm/parts/{slot}" for slot in ("embed", "residual", "position", "mixer"))
VALUES, BASELINES = "tests/evaluators/test_values.py", "tests/objectives/test_baselines.py"
FINETUNING = "tests/objectives/test_finetuning.py"

MISTAKES = (
    # --- MIMDet
    Mistake(
        "the maximum of equal tokens is their sum",
        "xfm/parts/down/pool.py",
        "chosen = real & (first == jnp.arange(x.shape[3])[:, None])",
        "chosen = real & (x == jnp.take_along_axis(x, first, axis=3))",
        "tests/parts/test_downs.py -k equal_tokens",
    ),
    Mistake(
        "tokens that are left out enter the decoder with the positions of the encoder",
        "xfm/parts/down/sampled.py",
        'whole, x = x, build(POSITIONS, self.position, name="position").add(x, ctx)',
        'whole = x = build(POSITIONS, self.position, name="position").add(x, ctx)',
        "tests/parts/test_sampled.py -k their_own_positions",
    ),
    Mistake(
        "padding is sampled as often as tokens are",
        "xfm/parts/down/sampled.py",
        "noise = jnp.where(real, jax.random.uniform(key, real.shape), 2.0)",
        "noise = jax.random.uniform(key, real.shape)",
        "tests/parts/test_sampled.py -k padding_is_sampled_last",
    ),
    Mistake(
        "a stage without layers takes part in the depth of the others",
        "xfm/structures/pyramid.py",
        "return self.repeats if self.pattern else 0, 1",
        "return self.repeats, 1",
        "tests/structures/test_pyramid.py -k depth_runs",
    ),
    # --- stages of PVT
    Mistake(
        "learned tokens stand after the grid's",
        "xfm/parts/down/positioned.py",
        "jnp.concatenate([jnp.broadcast_to(tokens, (len(x), *tokens.shape[1:])), x], axis=1)",
        "jnp.concatenate([x, jnp.broadcast_to(tokens, (len(x), *tokens.shape[1:]))], axis=1)",
        "tests/parts/test_downs.py -k learned_tokens",
    ),
    # --- blocks of AsCAN
    Mistake(
        "a gate of channels reads the mean over padding as well",
        f"{MIXER}/fused_mbconv.py",
        "total = jnp.where(real[..., None], h, 0).sum(1, dtype=jnp.float32)",
        "total = h.sum(1, dtype=jnp.float32)",
        f"{OWED} -k fused_mbconv",
    ),
    # --- clicks
    Mistake(
        "a click on equally deep errors is positive",
        "xfm/objectives/simulated_clicks.py",
        "positive = missed.max(1) > wrong.max(1)",
        "positive = missed.max(1) >= wrong.max(1)",
        "tests/objectives/test_clicks.py -k largest_error",
    ),
    Mistake(
        "what lies at the edge of an image is as deep as if the image went on",
        "xfm/objectives/simulated_clicks.py",
        "across = jnp.minimum(along(~inside, 2), jnp.minimum(columns + 1, W - columns)) ** 2",
        "across = jnp.minimum(along(~inside, 2), W) ** 2",
        "tests/objectives/test_clicks.py -k distances",
    ),
    Mistake(
        "the scale of the focal loss has a gradient",
        "xfm/objectives/clicks.py",
        "scale = jax.lax.stop_gradient(pixels / (factors.sum((1, 2)) + 1e-12))",
        "scale = pixels / (factors.sum((1, 2)) + 1e-12)",
        "tests/objectives/test_clicks.py -k normalised_focal",
    ),
    Mistake(
        "the clicks are not given to the network that is evaluated",
        "xfm/evaluators/clicks.py",
        """{**batch, "clicks": clicks, "mask": chance})""",
        """{**batch, "clicks": 0 * clicks, "mask": chance})""",
        f"{VALUES} -k number_of_clicks",
    ),
    Mistake(
        "layers taken by their number all have the checkpoint's first one",
        "xfm/train/numbered.py",
        "layer.index if layer.stacked else None) for layer",
        "0 if layer.stacked else None) for layer",
        "tests/train/test_start_layers.py -k periods",
    ),
    Mistake(
        "the finest map of a widening pyramid is narrow in a wide network",
        "xfm/parts/head/widening_pyramid.py",
        "between = max(2 * finest, D // 2)",
        "between = 2 * finest",
        "tests/configs/test_configs.py -k shards_and_paths and simpleclick-B",
    ),
    # --- parts
    Mistake(
        "windows put zeros before the shift where they should after it",
        f"{MIXER}/windowed.py",
        "x = jnp.pad(jnp.roll(x, back, axis=(1, 2)), around)",
        "x = jnp.roll(jnp.pad(x, around), back, axis=(1, 2))",
        "tests/parts/test_windowed.py -k larger_image",
    ),
    Mistake(
        "zeros at the edge of a grid take part where a row's padding is",
        f"{MIXER}/windowed.py",
        "return jnp.where(cut > 0, 4 * cut",
        "return jnp.where(cut >= 0, 4 * (cut + 1)",
        "tests/parts/test_windowed.py -k never_takes_part",
    ),
    Mistake(
        "the scale that attention learns is not bounded",
        f"{MIXER}/attention.py",
        "jnp.minimum(logarithm.astype(jnp.float32), math.log(LARGEST))",
        "logarithm.astype(jnp.float32)",
        "tests/parts/test_attention_scale.py -k bounded",
    ),
    Mistake(
        "an embedding adds its positions after its norm instead of before it",
        f"{EMBED}/tokens.py",
        """        x = build(POSITIONS, self.position, name="position").add(x, ctx)
        if self.types:
            types = batch.get("types", jnp.zeros_like(batch["tokens"]))
            x += Table(self.types, E, dtype=ctx.dtype, name="type")(types)
        x = ctx.clean(x)
        if self.norm is not None:
            x = build(NORMS, self.norm, name="norm")(x)
""",
        """        if self.types:
            types = batch.get("types", jnp.zeros_like(batch["tokens"]))
            x += Table(self.types, E, dtype=ctx.dtype, name="type")(types)
        x = ctx.clean(x)
        if self.norm is not None:
            x = build(NORMS, self.norm, name="norm")(x)
        x = build(POSITIONS, self.position, name="position").add(x, ctx)
""",
        f"{OWED} -k formula and embed",
    ),
    Mistake(
        "an embedding stays float32",
        f"{EMBED}/tokens.py",
        "word = Table(self.vocab, E, dtype=ctx.dtype",
        "word = Table(self.vocab, E, dtype=jnp.float32",
        f"{OWED} -k dtype and embed",
    ),
    Mistake(
        "a residual adds gate · x instead of gate · y",
        f"{RESIDUAL}/scaled.py",
        "gate * thinned(self, y, ctx",
        "gate * thinned(self, x, ctx",
        f"{OWED} -k formula and residual",
    ),
    Mistake(
        "dropout of attention weights has a constant key",
        f"{MIXER}/attention.py",
        'Dropout.of(self.drop, self.make_rng("dropout"))',
        "Dropout.of(self.drop, jax.random.key(0))",
        f"{DROPS} -k attention",
    ),
    Mistake(
        "the dropout of an MLP is never applied",
        "xfm/parts/ffn/mlp.py",
        "deterministic=not ctx.train",
        "deterministic=True",
        f"{DROPS} -k mlp",
    ),
    Mistake(
        "stochastic depth does not make up for the rows that it drops",
        f"{RESIDUAL}/thinning.py",
        "jnp.where(kept, y / stay, 0.0)",
        "jnp.where(kept, y, 0.0)",
        f"{DROPS} -k residual",
    ),
    Mistake(
        "an embedding starts ten times too wide",
        f"{EMBED}/table.py",
        "Initializer = nn.initializers.normal(0.02)",
        "Initializer = nn.initializers.normal(0.2)",
        f"{STARTS} -k embed",
    ),
    Mistake(
        "the fan-in of o counts the heads and not their width",
        "xfm/parts/linear.py",
        "ins, outs = tuple(range(self.axes)), tuple(range(self.axes, len(shape)))",
        "ins, outs = (0,), tuple(range(1, len(shape)))",
        f"{STARTS} -k mixer-attention",
    ),
    Mistake(
        "the mean of a row that is all padding is NaN",
        "xfm/parts/pool/mean.py",
        "jnp.maximum(real.sum(axis=1), 1)",
        "real.sum(axis=1)",
        f"{OWED} -k mean",
    ),
    Mistake(
        "the last token of a row is that of the row's end, padding or not",
        "xfm/parts/pool/last.py",
        "jnp.where(ctx.real(x), jnp.arange(T), 0)",
        "jnp.broadcast_to(jnp.arange(T), x.shape[:2])",
        f"{OWED} -k pool-last",
    ),
    Mistake(
        "the gate of a gated part and what it gates are exchanged",
        "xfm/parts/ffn/glu.py",
        'activation(self.activation)(gate) * Linear(self.hidden, self.bias, name="up")(x)',
        'gate * activation(self.activation)(Linear(self.hidden, self.bias, name="up")(x))',
        f"{OWED} -k formula and glu",
    ),
    Mistake(
        "an MLM head has its norm before the activation's map",
        "xfm/parts/head/mlm.py",
        """        if self.activation is not None:
            x = activation(self.activation)(Linear(table.shape[1], name="dense")(x))
        if self.norm is not None:
            x = build(NORMS, self.norm, name="norm")(x)
""",
        """        if self.norm is not None:
            x = build(NORMS, self.norm, name="norm")(x)
        if self.activation is not None:
            x = activation(self.activation)(Linear(table.shape[1], name="dense")(x))
""",
        f"{OWED} -k formula and mlm",
    ),
    Mistake(
        "latent queries scale their scores whatever is asked for",
        "xfm/parts/head/latent_queries.py",
        '("heads", "width", "bias", "scale")',
        '("heads", "width", "bias")',
        "tests/parts/test_latent_queries.py -k formula",
    ),
    Mistake(
        "dropout of relative positions does not make up for what it drops",
        f"{MIXER}/disentangled.py",
        "table = nn.Dropout(self.position_drop)(distances.table, deterministic=not ctx.train)",
        """table = nn.Dropout(self.position_drop)(distances.table, deterministic=not ctx.train)
            table = table * (1 - self.position_drop) if ctx.train else table""",
        f"{DROPS} -k disentangled-position_drop",
    ),
    # --- positions and masks
    Mistake(
        "the wavelengths of rotary positions are off by one pair",
        f"{POSITION}/rope.py",
        "np.arange(0, width, 2) / width",
        "np.arange(2, width + 2, 2) / width",
        f"{OWED} -k rope",
    ),
    Mistake(
        "rotary positions turn q and k in opposite directions",
        f"{POSITION}/rope.py",
        "return rotate(q, turn, self.pairs), rotate(k, turn, self.pairs)",
        "return rotate(q, turn, self.pairs), rotate(k, -turn, self.pairs)",
        f"{OWED} -k rope",
    ),
    Mistake(
        "the slopes of ALiBi begin one step too steep",
        f"{POSITION}/alibi.py",
        "2 ** (-8 * i / n)",
        "2 ** (-8 * (i - 1) / n)",
        f"{OWED} -k alibi",
    ),
    Mistake(
        "positions go on from one text of a row to the next",
        "xfm/context.py",
        "first = jnp.diff(segments, axis=1, prepend=segments[:, :1] - 1) != 0",
        "first = jnp.diff(segments > 0, axis=1, prepend=segments[:, :1] < 0)",
        "tests/parts/test_mixers.py -k packed and attention",
    ),
    Mistake(
        "a window reaches one token too far",
        f"{MIXER}/attention.py",
        "Mask.window(self.window // 2, self.window // 2)",
        "Mask.window(self.window // 2, self.window // 2 + 1)",
        f"{OWED} -k formula and mixer-attention-2",
    ),
    Mistake(
        "a causal mask shows the next token",
        "kernels/attention/mask.py",
        "near.append(ahead <= 0 if prefix is None",
        "near.append(ahead <= 1 if prefix is None",
        "tests/parts/test_mixers.py -k causal_means and attention-0",
    ),
    # --- networks
    Mistake(
        "all loops of a layer drop the same units",
        "xfm/structures/period.py",
        'split_rngs={"params": False, "dropout": True}',
        'split_rngs={"params": False, "dropout": False}',
        "tests/structures/test_drops.py -k residuals",
    ),
    Mistake(
        "all layers start alike",
        "xfm/structures/period.py",
        'split_rngs={"params": True, "dropout": True}',
        'split_rngs={"params": False, "dropout": True}',
        "tests/structures/test_drops.py -k apart",
    ),
    Mistake(
        "the norm of a sublayer's output stands after the residual connection",
        "xfm/structures/sublayer.py",
        'build(RESIDUALS, self.residual, name="skip")(x, norm("residual", y), ctx)',
        'norm("residual", build(RESIDUALS, self.residual, name="skip")(x, y, ctx))',
        "tests/structures/test_stack.py -k norms",
    ),
    Mistake(
        "the layers after a stack's repeats count as its first ones",
        "xfm/structures/stack.py",
        'run("epilogue", self.epilogue, x, 1.0,',
        'run("epilogue", self.epilogue, x, 0.0,',
        "tests/structures/test_sown.py -k ends and stack",
    ),
    Mistake(
        "the layers after an hourglass's repeats count as its first ones",
        "xfm/structures/hourglass.py",
        "fine, None, jnp.ones(1))",
        "fine, None, jnp.zeros(1))",
        "tests/structures/test_sown.py -k ends and hourglass",
    ),
    Mistake(
        "a pair of a funnel has the type of its second token",
        "xfm/structures/funnel.py",
        "pair(ctx.types)[:, :, 0]",
        "pair(ctx.types)[:, :, 1]",
        "tests/structures/test_funnel.py -k type_of_its_first",
    ),
    # --- transforms
    Mistake(
        "AdapterBias starts as wide as its inputs are many",
        "xfm/transforms/adapter_bias.py",
        "kernel = jax.random.normal(key, (*site.stack, *site.ins)) / math.sqrt(math.prod(site.ins))",
        "kernel = jax.random.normal(key, (*site.stack, *site.ins))",
        "tests/transforms/test_contract.py -k fan_in",
    ),
    Mistake(
        "parameters that one rule draws anew are alike",
        "xfm/transforms/redraw.py",
        "key = jax.random.fold_in(rng, zlib.crc32(path.encode()))",
        "key = rng",
        "tests/objectives/test_others.py -k redraw",
    ),
    Mistake(
        "two transforms of one kind start alike",
        "xfm/transforms/transformed.py",
        'transform.start(jax.random.fold_in(key, zlib.crc32(f"{OWN}/{name}".encode())), sites)',
        "transform.start(key, sites)",
        "tests/transforms/test_contract.py -k drawn_as",
    ),
    Mistake(
        "a transform acts around all methods of a module",
        "xfm/transforms/transformed.py",
        'if context.method_name != "__call__":',
        'if context.method_name == "setup":',
        "tests/transforms/test_contract.py -k no_other_method",
    ),
    # --- optimiser and step
    Mistake(
        "a freeze regex that matches nothing is no error",
        "xfm/train/optimiser.py",
        '    require_matches("freeze", freeze, paths)\n',
        "",
        f"{OPTIMISER} -k unmatched",
    ),
    Mistake(
        "the cooldown of rsqrt ends a step early",
        "xfm/train/schedules.py",
        "left = jnp.clip((length - step) / self.cooldown",
        "left = jnp.clip((length - 1 - step) / self.cooldown",
        f"{OPTIMISER} -k schedule",
    ),
    Mistake(
        "the warm-up is a step too long",
        "xfm/train/schedules.py",
        "rule.after_warmup()], [rule.warmup]",
        "rule.after_warmup()], [rule.warmup + 1]",
        f"{OPTIMISER} -k schedule",
    ),
    Mistake(
        "the default decay no longer reaches the tables of heads",
        "xfm/train/optimiser.py",
        r"(^|/)(kernel|embedding)$|(^|/)head[^/]*/table$",
        r"(^|/)(kernel|embedding)$",
        f"{OPTIMISER} -k decay",
    ),
    Mistake(
        "the default decay comes before the config's own rules",
        "xfm/train/optimiser.py",
        "(*decay, *DECAY)",
        "(*DECAY, *decay)",
        f"{OPTIMISER} -k decay",
    ),
    Mistake(
        "the decay of AdamW goes through the moments",
        "xfm/train/optimiser.py",
        "return optax.chain(optax.scale_by_adam(self.b1, self.b2, self.eps), decay)",
        "return optax.chain(decay, optax.scale_by_adam(self.b1, self.b2, self.eps))",
        f"{OPTIMISER} -k equals_optax",
    ),
    Mistake(
        "all accumulated parts have one dropout key",
        "xfm/train/step.py",
        "rows, jax.random.fold_in(rng, index), state.step",
        "rows, rng, state.step",
        f"{STEP} -k draws",
    ),
    Mistake(
        "the gradient of accumulated parts is the mean of their means",
        "xfm/train/step.py",
        "total({name: (metrics[name][0], counts[name]) for name in terms}, terms)",
        "total({name: metrics[name] for name in terms}, terms) / accumulate",
        f"{STEP} -k weighs",
    ),
    Mistake(
        "the moving average moves by the share that it should keep",
        "xfm/train/step.py",
        "ema * a + (1 - ema) * p",
        "(1 - ema) * a + ema * p",
        f"{STEP} -k average",
    ),
    # --- evaluators
    Mistake(
        "the mean F1 of all classes is that of all rows",
        "xfm/evaluators/scores.py",
        'average="macro"',
        'average="micro"',
        f"{VALUES} -k classes",
    ),
    Mistake(
        "a word has the tag of the token before it",
        "xfm/evaluators/tags.py",
        "classes[i, position]",
        "classes[i, position - 1]",
        f"{VALUES} -k tags",
    ),
    Mistake(
        "an answer is given where no answer scores better by less than the threshold",
        "xfm/evaluators/spans.py",
        "none[number] > value + self.threshold",
        "none[number] > value - self.threshold",
        f"{VALUES} -k spans",
    ),
    Mistake(
        "an answer loses its last token",
        "xfm/evaluators/spans.py",
        "context[characters[first, 0] : characters[last, 1]]",
        "context[characters[first, 0] : characters[last, 0]]",
        f"{VALUES} -k spans",
    ),
    Mistake(
        "the tenth nearest is not among the ten nearest",
        "xfm/evaluators/nearest.py",
        "float((rank <= 10).mean())",
        "float((rank < 10).mean())",
        f"{VALUES} -k nearest",
    ),
    Mistake(
        "the fifth likeliest word is not among the five likeliest",
        "xfm/evaluators/filled_words.py",
        "np.mean(rank <= 5)",
        "np.mean(rank < 5)",
        f"{VALUES} -k masked",
    ),
    Mistake(
        "a generator may put the text's own word",
        "xfm/evaluators/replaced_words.py",
        "jnp.asarray(one).at[truth].set(-jnp.inf)",
        "jnp.asarray(one)",
        f"{VALUES} -k replaced",
    ),
    # --- objectives and data
    Mistake(
        "a causal model is asked for the first token of the next text",
        "xfm/objectives/causal_lm.py",
        "weights *= (following > 0) & (here == following)",
        "weights *= following > 0",
        "tests/objectives/test_others.py -k causal",
    ),
    Mistake(
        "a masked model reads the tokens that it predicts",
        "xfm/objectives/masked_lm.py",
        "seen = jnp.where(weights > 0, replaced(labels, self.split, self.vocabulary, what), labels)",
        "seen = labels",
        "tests/objectives/test_masked_lm.py -k surprise or reads",
    ),
    Mistake(
        "a generator's right guesses count as replaced",
        "xfm/objectives/replaced_token.py",
        "swapped, judged = filled != tokens,",
        "swapped, judged = written(jnp.zeros_like(tokens), at, (weights > 0).astype(tokens.dtype)) > 0,",
        "tests/objectives/test_replaced_token.py -k losses",
    ),
    Mistake(
        "masked tokens that should become random ones stay as they are",
        "xfm/objectives/corruption.py",
        "jnp.where(u < masked + random, other, tokens)",
        "jnp.where(u < random, other, tokens)",
        "tests/objectives/test_masked_lm.py -k seen_in_place",
    ),
    Mistake(
        "packed documents keep their positions of the row",
        "xfm/data/packing.py",
        'out["positions"][whole] = within',
        'out["positions"][whole] = whole % length',
        "tests/data/test_packing.py -k documents",
    ),
    Mistake(
        "two documents of a row share a segment",
        "xfm/data/packing.py",
        'out["segments"][whole] = np.repeat(segment, sizes + ends)',
        'out["segments"][whole] = 1',
        "tests/data/test_packing.py -k documents",
    ),
    Mistake(
        "several negatives add up instead of being averaged",
        "xfm/objectives/contrast.py",
        "apart[:, 1:], 0).mean(-1)",
        "apart[:, 1:], 0).sum(-1)",
        f"{FINETUNING} -k other_losses",
    ),
    Mistake(
        "all pieces of a batch of texts have one dropout key",
        "xfm/objectives/retrieval.py",
        "keys = jax.random.split(rng, self.chunks)",
        "keys = jnp.stack([rng] * self.chunks)",
        f"{FINETUNING} -k of_their_own",
    ),
    Mistake(
        "an answer is right where one of its ends is",
        "xfm/objectives/span.py",
        "(scores.argmax(-1) == labels).all(-1)",
        "(scores.argmax(-1) == labels).any(-1)",
        f"{FINETUNING} -k ends",
    ),
    Mistake(
        "a half that follows its own text has the label of a stranger's",
        "xfm/objectives/masked_lm.py",
        "weighted(cross_entropy(pairs, follows), every)",
        "weighted(cross_entropy(pairs, 1 - follows), every)",
        "tests/objectives/test_masked_lm.py -k strangers",
    ),
    Mistake(
        "a baseline knows the classes of the validation data",
        "xfm/objectives/classification.py",
        "known = np.maximum(shares(data.train), 1e-9)",
        "known = np.maximum(shares(data.valid), 1e-9)",
        f"{BASELINES} -k classification",
    ),
    Mistake(
        "a baseline counts words that it does not judge",
        "xfm/objectives/tagging.py",
        "np.bincount(*pair, minlength=self.classes)",
        "np.bincount(pair[0], minlength=self.classes)",
        f"{BASELINES} -k tagging",
    ),
    Mistake(
        "scores of pairs are not scaled",
        "xfm/data/pairs.py",
        "for record in records]) / np.float32(self.scale)",
        "for record in records])",
        "tests/data/test_words_and_spans.py -k triples",
    ),
    Mistake(
        "a piece goes to the row with the most room",
        "xfm/data/packing.py",
        "room = size + (enough & -enough).bit_length() - 1",
        "room = size + enough.bit_length() - 1",
        "tests/data/test_packing.py -k least_room",
    ),
    Mistake(
        "an answer may end right after its window",
        "xfm/data/spans.py",
        "one.answer[1] < one.window.stop",
        "one.answer[1] <= one.window.stop",
        "tests/data/test_words_and_spans.py -k answers_stand",
    ),
    # --- backbones of images
    Mistake(
        "the averages of batch normalisation take the biased variance",
        "xfm/parts/norm/batchnorm.py",
        "variance * (count / max(count - 1, 1))",
        "variance",
        "tests/train/test_statistics.py -k averages",
    ),
    Mistake(
        "words are added to the sentences before theirs",
        "xfm/structures/nested.py",
        "((0, 0), (T - made.shape[1], 0), (0, 0))",
        "((0, 0), (0, T - made.shape[1]), (0, 0))",
        "tests/parity/test_backbones.py -k tnt",
    ),
    Mistake(
        "the tokens-to-token stem adds its attention to queries instead of values",
        "xfm/parts/stem/tokens_to_token.py",
        "h = v[:, :, 0] + Linear",
        "h = q[:, :, 0] + Linear",
        f"{OWED} -k formula and tokens_to_token",
    ),
    Mistake(
        "hidden pixels are left in the images of which hidden patches are padding",
        "xfm/objectives/masked_images.py",
        "return {self.seen: jnp.where(blank, 0, images),",
        "return {self.seen: images,",
        "tests/objectives/test_masked_images.py -k hidden_pixels",
    ),
    Mistake(
        "the holes of finer maps are where those of the coarsest one are",
        "xfm/parts/head/unet_pixels.py",
        "visible = visible.repeat(2, 1).repeat(2, 2)",
        "visible = jnp.tile(visible, (1, 2, 2))",
        f"{OWED} -k formula and unet_pixels",
    ),
    Mistake(
        "the teacher of corrupted images reads what is corrupted",
        "xfm/objectives/corrupted_images.py",
        "{NAME: clean})",
        "{NAME: jnp.concatenate(damaged)})",
        "tests/objectives/test_corrupted_images.py -k by_hand",
    ),
)
