"""The tokeniser of a checkpoint, read from whichever of its files are there."""
