"""The cost of a network, computed without running it."""
