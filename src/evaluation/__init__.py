"""One model evaluated on one data set: scores, tables, figures, the model card, and what was seen in training."""
