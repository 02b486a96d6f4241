"""The tokeniser that lies with a checkpoint, read from whichever of its files are there."""
