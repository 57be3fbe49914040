"""Evaluating a model: scores with intervals, calibration, thresholds, slices, robustness, explanations, comparison."""
