"""The ground floor: operations on arrays, each with its definition and its fast forms. Depends on jax alone."""

if __name__ != "xfm.kernels":
    raise ImportError("this folder is imported as xfm.kernels; `kernels` is the name of another project")
