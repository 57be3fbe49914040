"""Scores of a binary classifier with their intervals, calibration, slices, and the pointing game."""
