"""Fitting a classifier: backend and precision, batches, optimizer, callbacks."""
