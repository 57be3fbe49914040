"""Answers about photos by people whose photos nobody trained on: `python -m experiments.unseen_collectors.run PHOTOS`.

Folds over collectors: in each a scene model is trained on the photos of some collectors, its fusion with the face model
is fitted on those of others, and the photos of the rest are answered. So every photo is answered once, by a bundle
that saw no photo of its collector. The face model is the same in all: it was not trained on these photos. A fold that
is there already is not made again; one that was made with other settings is rejected.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pandas as pd
from PIL import Image, ImageOps
from rich.console import Console
from rich.table import Table
from scipy.stats import t
from sklearn.metrics import log_loss

from src.cli.composition import compose_checked
from src.config import CONF, Config, ExportConfig, TrackingConfig

EVIDENCE, SETTINGS = "evidence.parquet", ".json"
SHOWN = 60
MIN_PHOTOS = 30


def parts_of(sizes: pd.Series, count: int) -> list[list[str]]:
    """Collectors in `count` parts of about equally many photos, the largest collector in the first."""
    parts: list[list[str]] = [[] for _ in range(count)]
    for collector in sizes.sort_values(ascending=False).index:
        min(parts, key=lambda part: sizes[part].sum()).append(str(collector))
    return parts


def listed(arguments: argparse.Namespace, fold: int) -> pd.DataFrame:
    """All photos with the splits of one fold: one part is tested on, another one but the first validated."""
    files = sorted(path.relative_to(arguments.photos).as_posix() for path in arguments.photos.glob("*/*.*"))
    files = [file for file in files if re.search(arguments.only, file)]
    photos = pd.DataFrame({"path": files, "label": [file.split("/")[0] for file in files]})
    collectors = photos["path"].str.extract(f"({arguments.pattern})", expand=False)
    parts = parts_of(collectors.value_counts(), arguments.folds)
    validated = parts[1 + fold % (arguments.folds - 1)]
    photos["split"] = "train"
    photos.loc[collectors.isin(validated), "split"] = "validation"
    photos.loc[collectors.isin(parts[fold]), "split"] = "test"
    return photos


def write_list(arguments: argparse.Namespace, fold: int) -> Path:
    """The list of the photos of one fold, as the manifest that it is trained from."""
    file: Path = arguments.work / f"fold{fold}.csv"
    listed(arguments, fold).to_csv(file, index=False)
    return file


def settings_of_fold(arguments: argparse.Namespace, fold: int) -> dict[str, object]:
    """What the answers of a fold come from, but for the code and what is in the photos."""
    bundle = arguments.faces / "bundle.json"
    return {
        "scenes": arguments.scenes,
        "faces": f"{arguments.faces} {digest(bundle.read_text()) if bundle.exists() else ''}".strip(),
        "pattern": arguments.pattern,
        "only": arguments.only,
        "folds": arguments.folds,
        "photos": digest(listed(arguments, fold).to_csv(index=False)),
        "overrides": " ".join(arguments.overrides),
    }


def digest(text: str) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of `text`."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def check_fold(arguments: argparse.Namespace, fold: int) -> None:
    """End the program where the fold is there already and was made with other settings."""
    folder: Path = arguments.work / f"fold{fold}"
    if not any((folder / name).exists() for name in (EVIDENCE, "model.keras")):
        return
    noted = folder.with_suffix(SETTINGS)
    made = json.loads(noted.read_text()) if noted.exists() else {}
    other = {key: made.get(key) for key, value in settings_of_fold(arguments, fold).items() if made.get(key) != value}
    if other:
        shown = ", ".join(f"{key}={value}" for key, value in other.items()) if made else "settings that are not known"
        raise SystemExit(f"{folder}: was made with {shown}; name another folder for these: --work")


def config_of_fold(arguments: argparse.Namespace, fold: int) -> Config:
    """The run of one fold's scene model."""
    from hydra import initialize_config_dir

    overrides = [f"experiment={arguments.scenes}", f"dataset.path={write_list(arguments, fold)}", "tracking=off"]
    overrides += [f"dataset.manifest.root={arguments.photos}"]
    overrides += [f"output={arguments.work / f'fold{fold}'}", f"dataset.cache={arguments.work / 'cache'}"]
    overrides += ["evaluation.figures=false", "evaluation.explanations=0", "evaluation.slices=false"]
    with initialize_config_dir(str(CONF), version_base=None):
        return compose_checked([*overrides, *arguments.overrides], Config, "config")


def answers_of_fold(arguments: argparse.Namespace, fold: int) -> pd.DataFrame:
    """The fold's test photos with label, collector, faces and the probabilities of the whole and of the scene alone."""
    kept = arguments.work / f"fold{fold}" / EVIDENCE
    check_fold(arguments, fold)
    if kept.exists():
        return pd.read_parquet(kept)
    arguments.work.mkdir(parents=True, exist_ok=True)
    kept.parent.with_suffix(SETTINGS).write_text(json.dumps(settings_of_fold(arguments, fold), indent=1))
    from src.conversion.export import export
    from src.conversion.photo_evidence import labeled_photos, photo_evidence, with_answers, write_evidence
    from src.data.prepared import prepare
    from src.runtime.photos import PhotoPredictor
    from src.training.run import train

    config = config_of_fold(arguments, fold)
    if not (kept.parent / "model.keras").exists():
        train(config)
    exporting = ExportConfig(
        TrackingConfig("off"),
        run=str(arguments.faces),
        scene=str(kept.parent),
        output=str(arguments.work / f"bundle{fold}"),
        overwrite=True,
        formats=["int8"],
        int8_tolerance=0.05,  # the fusion is fitted on answers of int8
        groups=arguments.pattern,
    )
    bundle = export(exporting)
    assert bundle.scene is not None  # noqa: S101  (for the type checker)
    photos = labeled_photos(prepare(config.dataset), config.dataset, exporting)
    found = with_answers(photo_evidence(PhotoPredictor(bundle), photos), bundle)
    found = found[found["split"] == "test"]
    intercept, weight = bundle.scene.fusion.without_faces
    alone = replace(bundle.scene.fusion, with_faces=(intercept, 0.0, weight))
    found = found.assign(
        fold=fold,
        scene=[alone.probability(item) for item in found["evidence"]],
        scene_right=lambda table: (table["scene"] >= 0.5) == table["label"].astype(bool),
    )
    write_evidence(found, kept)
    return pd.read_parquet(kept)


def interval_over(values: list[float]) -> str:
    """The mean of one value for each collector, with its 95 % interval by Student's t."""
    half = float(t.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5
    return f"{mean(values):.3f} [{mean(values) - half:.3f}, {mean(values) + half:.3f}]"


def tables(answers: pd.DataFrame) -> list[Table]:
    """By collector; all together: by photo, and as the mean of the collectors with `MIN_PHOTOS` or more; by fusion."""
    from src.metrics.calibration import expected_calibration_error
    from src.metrics.intervals import proportion

    by_collector = Table("collector", "fold", "photos", "face found", "scene alone", "faces and scene")
    for collector, part in answers.groupby("collector"):
        right, alone = proportion(part["right"]), part["scene_right"].mean()
        row = [str(part["fold"].iloc[0]), f"{len(part):,}", f"{(part['faces'] > 0).mean():.0%}", f"{alone:.3f}"]
        by_collector.add_row(str(collector), *row, str(right))
    total = Table("photos", "number", "accuracy", "mean of collectors [95 %]", "scene alone", "calibration error")
    for name, rows in cases(answers).items():
        part = answers[rows]
        means = part.groupby("collector")["right"].agg(["mean", "size"])
        large = means.loc[means["size"] >= MIN_PHOTOS, "mean"].tolist()
        shares = [f"{part[column].mean():.3f}" for column in ("right", "scene_right")]
        calibration = expected_calibration_error(part["label"], part["probability"])
        total.add_row(name, f"{len(part):,}", shares[0], interval_over(large), shares[1], f"{calibration:.3f}")
    return [by_collector, total, table_of_fusions(answers)]


def fitted_on_others(answers: pd.DataFrame) -> pd.Series:
    """Probabilities by a fusion that is fitted, for each collector, on what the models say of all others' photos."""
    from src.conversion.photo import fit_fusion
    from src.conversion.photo_evidence import evidence_of

    evidence, labels = np.array(evidence_of(answers), dtype=object), answers["label"].to_numpy(float)
    found = pd.Series(0.0, answers.index)
    for collector in answers["collector"].unique():
        others = (answers["collector"] != collector).to_numpy()
        fusion = fit_fusion(labels[others], list(evidence[others]), ExportConfig.unsure_below)
        found[~others] = [fusion.probability(item) for item in evidence[~others]]
    return found


def table_of_fusions(answers: pd.DataFrame) -> Table:
    """The fusion of each fold, fitted on its validation photos, against one fitted on all others' photos."""
    from src.metrics.calibration import expected_calibration_error

    table = Table("photos", "fusion fitted on", "accuracy", "log loss", "calibration error")
    fusions = {"validation": answers["probability"], "all others' photos": fitted_on_others(answers)}
    for name, rows in cases(answers).items():
        labels = answers.loc[rows, "label"].to_numpy()
        for fitted, probabilities in fusions.items():
            shown = probabilities[rows].to_numpy()
            values = (
                ((shown >= 0.5) == labels).mean(),
                log_loss(labels, shown),
                expected_calibration_error(labels, shown),
            )
            table.add_row(name, fitted, *(f"{value:.3f}" for value in values))
    return table


def cases(answers: pd.DataFrame) -> dict[str, pd.Series]:
    """Which rows are of all photos, of those with a face found, and of the rest."""
    with_face = answers["faces"] > 0
    return {"all": with_face | True, "a face found": with_face, "none found": ~with_face}


def write_errors(answers: pd.DataFrame, photos: Path, file: Path) -> None:
    """A sheet of the surest wrong answers: is it the label, the search for faces, or the model?"""
    from src.evaluation.figures import contact_sheet
    from src.reports.style import save_png
    from src.runtime.outputs import hundredths

    wrong = answers[~answers["right"]]
    sure = wrong.loc[(wrong["probability"] - 0.5).abs().sort_values(ascending=False).index][:SHOWN]
    images = []
    for path in sure["path"]:
        with Image.open(photos / path) as image:
            images.append(np.asarray(ImageOps.pad(image.convert("RGB"), (192, 192), color="white")))
    captions = [
        f"P(happy) {hundredths(row.probability)}, {row.faces} faces\nlabeled {'happy' if row.label else 'sad'}"
        for row in sure.itertuples()
    ]
    title = f"The surest {len(sure)} of {len(wrong)} wrong answers to {len(answers):,} photos"
    save_png(contact_sheet(np.stack(images), captions, [False] * len(sure), title), file)


def main() -> None:
    """Make what folds are missing, then print the tables and write the sheet of errors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, help="a folder with happy and sad in it")
    parser.add_argument(
        "--faces", type=Path, default=Path("models/happy_sad"), help="the bundle whose face model is used"
    )
    parser.add_argument("--scenes", default="scenes_from_imagenet", help="the experiment that trains the scene models")
    parser.add_argument("--pattern", default=r"c\d\d", help="regular expression that finds the collector in a path")
    parser.add_argument(
        "--only", default="", help="regular expression: photos whose path it does not match are left out"
    )
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--work", type=Path, default=Path("outputs/unseen_collectors"), help="where folds are kept")
    parser.add_argument("overrides", nargs="*", help="of the scene model's config, such as trainer.epochs=20")
    arguments = parser.parse_args()
    arguments.work, arguments.photos = arguments.work.resolve(), arguments.photos.resolve()
    for fold in range(arguments.folds):
        check_fold(arguments, fold)
    answers = pd.concat([answers_of_fold(arguments, fold) for fold in range(arguments.folds)], ignore_index=True)
    answers = answers.assign(collector=answers["path"].str.extract(f"({arguments.pattern})", expand=False))
    for table in tables(answers):
        Console(width=120).print(table)
    answers.to_parquet(arguments.work / EVIDENCE, index=False)
    write_errors(answers, arguments.photos, arguments.work / "errors.png")
    print(f"the surest errors: {arguments.work / 'errors.png'}")
    print(f"evidence of each photo, for src.export: evidence={arguments.work / EVIDENCE}")


if __name__ == "__main__":
    main()
