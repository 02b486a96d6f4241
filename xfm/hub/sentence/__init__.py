"""Sentence encoders in the format of sentence-transformers, which turn texts into vectors."""
