"""Many runs from one command: worker processes, the sweep's own run in MLflow, progress."""
