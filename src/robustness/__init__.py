"""How accuracy holds under common corruptions."""
