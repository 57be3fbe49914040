"""The Ray cluster that jobs are run on and images decoded."""

from __future__ import annotations

import logging
import os
import re
import socket
from typing import Any

from .errors import ClusterError

# Off unless the user says otherwise: a token in the home folder, and telling Ray's makers what is run.
QUIET = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
ADDRESS = re.compile(r"(ray://)?(?P<host>[^/]+):(?P<port>\d+)")
ANSWER_SECONDS = 10


def connect(address: str | None, key: str) -> Any:
    """The `ray` module, connected to the cluster at `address`, which the config's `key` gives.

    None means the one that RAY_ADDRESS names, else `local`, a Ray of its own on this machine. Raises ClusterError.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise ClusterError("running on Ray needs ray: pip install '.[cluster]' in the checkout") from None
    if ray.is_initialized():
        return ray
    address = address or os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {"address": address} if address else {}
    options |= {"include_dashboard": False} if address in (None, "local") else {}
    if path := os.environ.get("PYTHONPATH"):  # a node begins with its own, and may then not find what a job imports
        options["runtime_env"] = {"env_vars": {"PYTHONPATH": path}}
    try:
        if address and (place := ADDRESS.fullmatch(address)):
            # Ray itself ends the process where nothing answers, after a minute.
            socket.create_connection((place["host"], int(place["port"])), timeout=ANSWER_SECONDS).close()
        ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises a bare one where it does not start in time
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ClusterError(f"{key}={address}: {reason}" if address else f"Ray: {reason}") from error
    return ray
