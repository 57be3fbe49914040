"""Scores of a binary classifier with their intervals, calibration, and slices."""
