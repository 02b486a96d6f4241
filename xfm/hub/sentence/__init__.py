"""Checkpoints in the format of sentence-transformers: from texts to vectors."""
