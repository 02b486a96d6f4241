"""From a parameter tree to a parameter tree, and module interceptors: zero lines in the models."""
