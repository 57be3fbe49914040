"""Pages for people: the data report, the leak check, and the look that all pages and figures share."""
