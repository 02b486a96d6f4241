"""The ground floor: operations on arrays, each with its definition and its fast forms. Depends on jax alone."""

if __name__ != "xfm.kernels":
    # A Python started in a checkout finds this folder under a name that is another project's. An empty module takes its
    # place there, so that nothing can be imported from it, and transformers, which looks for that project, sees none.
    import sys
    import types

    sys.modules[__name__] = types.ModuleType(__name__)
