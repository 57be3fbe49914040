"""Imports of the fork server, made once, so that a worker forked from it starts in a tenth of a second.

Nothing here may touch a device or start a thread that a fork would lose: TensorFlow's runtime starts with its first
operation, in the worker.
"""

from __future__ import annotations

import contextlib
import gc
import importlib

from hydra.core.plugins import Plugins

from ..training.backend import import_backend

import_backend()
Plugins.instance()

# MLflow may be absent with tracking=off, and TensorFlow with another backend.
IMPORTS = ["..training.fit", "..training.record", "..evaluation.artifacts"]
IMPORTS += ["matplotlib.backends.backend_agg", "matplotlib.layout_engine"]
OPTIONAL = ["mlflow.store.tracking.sqlalchemy_store", "mlflow.models", "mlflow.pyfunc"]

for name in IMPORTS:
    importlib.import_module(name, __package__)
for name in OPTIONAL:
    with contextlib.suppress(ImportError):
        importlib.import_module(name, __package__)
gc.freeze()  # else a collection in a worker would copy the memory that it shares with the server
