"""Classifiers, the augmentation they are trained with, and what they cost."""
