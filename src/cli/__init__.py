"""Command lines: by Hydra for what is configured, by Typer for what has options."""
