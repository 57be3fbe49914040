"""The export of recorded models to a bundle: one model, or a face and a scene model for photos."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from ..config import ExportConfig, output_folder, project_path
from ..config.identity import Request
from ..data.prepared import prepare
from ..errors import ConfigError
from ..evaluation.leaks import as_evaluated
from ..evaluation.recorded import open_recorded
from ..runtime.bundle import MANIFEST, open_bundle
from ..tracking.read import log_report
from ..tracking.store import say_store
from .exporting import build_bundle, check_place, install
from .parity import parity_metrics, parity_table
from .photo import build_photo_bundle, face_part, scene_part
from .photo_evidence import labeled_photos, read_evidence

if TYPE_CHECKING:
    from ..data.prepared import PreparedDataset
    from ..evaluation.recorded import RecordedModel
    from ..runtime.bundle import Bundle
    from .photo_evidence import LabeledPhotos


def export(config: ExportConfig, _: Request | None = None) -> Bundle:
    """Export the model that `config.run` names. Raises TrackingError, DataError or BundleError."""
    folder = project_path(config.output)
    output_folder(str(folder.parent))
    config = replace(config, notes=_text(config.notes))
    evidence = read_evidence(project_path(config.evidence)) if config.evidence else None
    say_store(config.tracking)

    check_place(folder, overwrite=config.overwrite)
    console = Console(markup=False)
    with tempfile.TemporaryDirectory(prefix="happy-sad-") as temporary:
        places = [Path(temporary) / place for place in ("parts/faces", "parts/scenes", f"made/{folder.name}")]
        for place in places:
            place.parent.mkdir(exist_ok=True)
        if config.scene is None:
            bundle = _exported(config, config.run, places[2], console)[0]
        else:
            face = _face_model(config, places[0], console)
            scene, photos = _scene_model(config, config.scene, places[1], console)
            bundle = build_photo_bundle(face, scene, photos, config, places[2], evidence)
        bundle = install(bundle, folder)
    console.print(f"bundle: {folder}  ({bundle.model_id})", highlight=False, soft_wrap=True, markup=False)
    return bundle


def _text(notes: str | None) -> str | None:
    """Notes as they are given, or what the Markdown file holds whose path is given. Raises ConfigError."""
    if notes is None or not notes.endswith(".md"):
        return notes
    try:
        return project_path(notes).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise ConfigError(f"notes={notes}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _face_model(config: ExportConfig, folder: Path, console: Console) -> Bundle:

    found = _given_bundle(config.run)
    return face_part(found, folder) if found else _exported(config, config.run, folder, console)[0]


def _scene_model(config: ExportConfig, which: str, folder: Path, console: Console) -> tuple[Bundle, LabeledPhotos]:
    """The scene model and the photos to fuse on: those of `config.dataset`, else those that it was trained with."""
    found = _given_bundle(which)
    if found is None:
        scene, recorded, prepared = _exported(config, which, folder, console)
        dataset = recorded.config.dataset
    elif config.dataset is None:
        raise ConfigError(f"scene={which}: a bundle holds no photos; name some: dataset=photos dataset.path=PATH")
    else:
        scene = scene_part(found, folder)
    if config.dataset is not None:
        dataset = replace(config.dataset, image_size=scene.image_size, fit=scene.fit)
        prepared = prepare(dataset)
    return scene, labeled_photos(prepared, dataset, config)


def _given_bundle(which: str) -> Bundle | None:
    """The bundle in the folder `which`, whose files were compared with Keras when it was exported; None for a run."""
    folder = project_path(which)
    return open_bundle(folder) if (folder / MANIFEST).is_file() else None


def _exported(
    config: ExportConfig, which: str, folder: Path, console: Console
) -> tuple[Bundle, RecordedModel, PreparedDataset]:
    """A bundle of one recorded model, compared with Keras, with the record and its data."""
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
