"""From a recorded model to a bundle of formats that were compared with each other."""
