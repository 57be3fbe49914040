"""Using a trained model: the bundle that is passed around, and what predicts, exports and serves with it."""
