"""Export a recorded model to a bundle: `python -m src.export run=best output=models/mine`.

Every format is compared with Keras on the validation pictures and measured; one past its tolerance fails the export,
and nothing is written.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .cli.hydra_command import hydra_command
from .config import ExportConfig, project_path

if TYPE_CHECKING:
    from .runtime.bundle import Bundle


def export(config: ExportConfig, _: Sequence[str] = ()) -> Bundle:
    """Export the model that `config.run` names. Raises TrackingError, DataError or BundleError."""
    from .training.backend import start_backend

    start_backend()  # quietly, before anything else imports Keras
    from rich.console import Console

    from .conversion.exporting import build_bundle, install
    from .conversion.parity import parity_metrics, parity_table
    from .data.prepared import prepare
    from .evaluation.recorded import open_recorded
    from .tracking.read import log_report

    console = Console()
    recorded = open_recorded(config.tracking, config.run)
    dataset = prepare(recorded.config.dataset)
    folder = project_path(config.output)
    with tempfile.TemporaryDirectory(prefix="happy-sad-") as temporary:
        bundle, parities = build_bundle(recorded, dataset, config, Path(temporary), folder.name)
        console.print(parity_table(parities))
        if recorded.run is not None:
            metrics = parity_metrics(parities)
            log_report(config.tracking, "export", bundle.folder, parent=recorded.run, name=folder.name, metrics=metrics)
        bundle = install(bundle, folder)
    console.print(f"bundle: {folder}  ({bundle.model_id})", highlight=False, soft_wrap=True, markup=False)
    return bundle


main = hydra_command(export, schema=ExportConfig, config_name="export")

if __name__ == "__main__":
    main()
