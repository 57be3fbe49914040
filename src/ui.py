"""Open MLflow's UI on the store that holds the runs: `python -m src.ui`."""

from __future__ import annotations

import os
import socket
import sys
from typing import Annotated

import typer

from .cli.typer_command import typer_command
from .config import TrackingConfig
from .errors import ConfigError

ADDRESS = "127.0.0.1"
# Of MLflow's server: no processes for jobs, which runs do not have, and no notices.
QUIET = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_LOGGING_LEVEL": "ERROR", "PYTHONWARNINGS": "ignore"}


def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where the UI listens, on this machine only.")] = 5000,
    tracking_uri: Annotated[
        str | None, typer.Option(envvar="MLFLOW_TRACKING_URI", help="The store; default: the project's own.")
    ] = None,
) -> None:
    """Serve MLflow's UI, and print where each experiment's table of scores is. Ctrl-C stops it."""
    from .tracking import store

    config = TrackingConfig("default", tracking_uri or None)
    uri = store.tracking_uri(config)
    served = store.is_server(uri)
    if not served:
        _check_free(port)
    experiments = store.open_store(config).MlflowClient().search_experiments()
    base = uri.rstrip("/") if served else f"http://{ADDRESS}:{port}"
    print(f"runs in {uri}:" if served else f"runs in {uri}; the UI answers in about 20 s, Ctrl-C stops it:")
    for experiment in experiments:
        if store.SCORES_TAG in experiment.tags:
            print(f"  {experiment.name}: {base}/#/experiments/{experiment.experiment_id}/runs?{store.SCORES_QUERY}")
    sys.stdout.flush()
    if not served:
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        command = [sys.executable, "-m", "mlflow", "ui", "--host", ADDRESS, "--port", str(port), "--workers", "1"]
        quiet = ["--backend-store-uri", uri, "--uvicorn-opts", "--log-level warning"]
        os.execv(sys.executable, [*command, *quiet])  # noqa: S606 - no shell, and the arguments are ours


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError as error:
            raise ConfigError(f"--port {port}: {error.strerror}; name another one") from None


main = typer_command(ui)

if __name__ == "__main__":
    main()
