"""From a run of xfm to files that other libraries read."""
