"""From a data source to pictures that can be trusted: one memory-mapped array, one table, one digest."""
