"""Export a recorded model to a bundle: `python -m src.export run=best output=models/mine`.

Every format is compared with Keras on the validation pictures and measured; one past its tolerance fails the export,
and nothing is written. With `scene=`, two models become one bundle for photos: see `src.conversion.photo_bundle`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .cli.hydra_command import hydra_command
from .config import ExportConfig, output_folder, project_path

if TYPE_CHECKING:
    from rich.console import Console

    from .data.prepared import PreparedDataset
    from .evaluation.recorded import RecordedModel
    from .runtime.bundle import Bundle


def export(config: ExportConfig, _: Sequence[str] = ()) -> Bundle:
    """Export the model that `config.run` names. Raises TrackingError, DataError or BundleError."""
    from .tracking.store import say_store
    from .training.backend import start_backend

    folder = project_path(config.output)
    output_folder(str(folder.parent))
    say_store(config.tracking)
    start_backend()  # quietly, before anything else imports Keras
    from rich.console import Console

    from .conversion.exporting import check_place, install
    from .conversion.photo_bundle import build_photo_bundle

    check_place(folder)
    console = Console(markup=False)
    with tempfile.TemporaryDirectory(prefix="happy-sad-") as temporary:
        places = [Path(temporary) / part for part in ("faces", "scenes", folder.name)]
        if config.scene is None:
            bundle = _exported(config, config.run, places[2], console)[0]
        else:
            face = _face_bundle(config, places[0], console)
            scene, recorded, dataset = _exported(config, config.scene, places[1], console)
            bundle = build_photo_bundle(face, scene, recorded, dataset, config, places[2])
        bundle = install(bundle, folder)
    console.print(f"bundle: {folder}  ({bundle.model_id})", highlight=False, soft_wrap=True, markup=False)
    return bundle


def _face_bundle(config: ExportConfig, folder: Path, console: Console) -> Bundle:
    from .runtime.bundle import MANIFEST, open_bundle

    given = project_path(config.run)
    if (given / MANIFEST).is_file():  # was compared with Keras when it was exported
        return open_bundle(given)
    return _exported(config, config.run, folder, console)[0]


def _exported(
    config: ExportConfig, which: str, folder: Path, console: Console
) -> tuple[Bundle, RecordedModel, PreparedDataset]:
    """A bundle of one recorded model, compared with Keras, with the record and its data."""
    from .conversion.exporting import build_bundle
    from .conversion.parity import parity_metrics, parity_table
    from .data.prepared import prepare
    from .evaluation.leaks import as_evaluated
    from .evaluation.recorded import open_recorded
    from .tracking.read import log_report

    recorded = open_recorded(config.tracking, which)
    own = recorded.config.dataset
    dataset = as_evaluated(prepare(own), recorded.fitted_on, own)
    folder.mkdir()
    bundle, parities = build_bundle(recorded, dataset, config, folder, folder.name)
    console.print(parity_table(parities))
    if recorded.run is not None:
        name, metrics = project_path(config.output).name, parity_metrics(parities)
        log_report(config.tracking, "export", bundle.folder, parent=recorded.run, name=name, metrics=metrics)
    return bundle, recorded, dataset


main = hydra_command(export, schema=ExportConfig, config_name="export")

if __name__ == "__main__":
    main()
