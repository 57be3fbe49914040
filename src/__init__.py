"""Config-driven experiments for a happy/sad image classifier. Every module named like a command is that command."""

import os

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # MLflow would send its usage to its makers
