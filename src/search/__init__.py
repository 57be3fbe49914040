"""Search by keras-tuner's oracles over the same config tree."""
