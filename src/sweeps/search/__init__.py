"""A search by keras-tuner's oracles over the overrides of `src.train`."""
