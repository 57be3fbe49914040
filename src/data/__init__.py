"""From a data source to images that can be trusted: one memory-mapped array, one table, one digest."""
