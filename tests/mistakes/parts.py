"""Mistakes in parts, positions, masks and whole networks."""

from tests.mistakes.base import Mistake

OWED, STARTS, DROPS = (f"tests/parts/test_{name}.py" for name in ("owed", "starts", "drops"))
EMBED, RESIDUAL, POSITION, MIXER = (f"xfm/parts/{slot}" for slot in ("embed", "residual", "position", "mixer"))

PARTS = (
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
)
