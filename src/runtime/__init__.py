"""Using an exported model without the framework that trained it."""
