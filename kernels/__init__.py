"""Operations on arrays, each with its definition and with fast implementations. They depend on jax alone."""

if __name__ != "xfm.kernels":
    # Python started in a checkout finds this folder as `kernels`, which is the name of another project. An empty module
    # is put in its place, so that transformers, which looks for that project, finds nothing to import.
    import sys
    import types

    sys.modules[__name__] = types.ModuleType(__name__)
