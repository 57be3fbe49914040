"""Config-driven experiments for a happy/sad image classifier. Every module named like a command is that command."""
