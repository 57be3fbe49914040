"""An audit of labels: models cross-validated over groups, and the labels that they contradict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import yaml
from rich.console import Console

from ..cli.composition import quoted
from ..config import CONF, AuditConfig, Config, project_path, shell_command
from ..config.base import LAUNCH, SESSION, without_roles
from ..config.identity import Request
from ..data.prepared import prepare
from ..data.store import disk_errors
from ..metrics.intervals import proportion
from ..metrics.label_errors import find_label_errors
from ..reports.label_audit import MANIFEST, audit_table, auditable_samples, write_audit_page, write_manifest
from ..tracking.read import log_report
from ..tracking.store import check_store
from .run import train

if TYPE_CHECKING:
    import pandas as pd

    from ..metrics.intervals import Score


def audit(config: AuditConfig, request: Request) -> pd.DataFrame:
    """Train one model for each fold, look for label errors and write page and manifest; the table behind the page.

    Raises DataError for images that are no files, and what training raises.
    """
    check_store(config.tracking)
    samples = auditable_samples(config.dataset)
    dataset = prepare(config.dataset)
    probabilities = np.full(len(dataset.table), np.nan)
    for fold in range(config.dataset.split.folds):
        run = _fold(config, fold)
        evaluation = train(run, Request.of("train", run, _overrides(run, request.overrides))).evaluation
        assert evaluation is not None  # noqa: S101  (AuditConfig rejects trainer=overfit)
        held_out = evaluation.split("test")
        probabilities[held_out.index] = held_out["probability"]
    known = np.isfinite(probabilities)
    labels, groups = (dataset.table[name].to_numpy()[known] for name in ("label", "group"))
    errors = find_label_errors(labels, probabilities[known])
    agreement = proportion((probabilities[known] >= 0.5) == labels, groups)
    table = audit_table(dataset, probabilities, errors)
    folder = project_path(config.output or f"outputs/audit/{config.dataset.name}")
    with disk_errors(folder, "output"):
        folder.mkdir(parents=True, exist_ok=True)
        page = write_audit_page(table, dataset, errors, agreement, folder, config.shown)
        root = write_manifest(table, dataset, samples, config.dataset, folder)
    _report(table, agreement, config, page, folder / MANIFEST, root)
    return table


def _fold(config: AuditConfig, fold: int) -> Config:
    """The run of one fold, of whose evaluation only the probabilities are wanted."""
    values = {name: getattr(config, name) for name in Config.__dataclass_fields__}
    split = replace(config.dataset.split, method="kfold", fold=fold)
    evaluation = replace(config.evaluation, explanations=0, pointing_images=0, slices=False, figures=False)
    values |= {"dataset": replace(config.dataset, split=split), "evaluation": evaluation, "output": None}
    return Config(**values | {"name": f"audit-{config.dataset.name}-fold{fold}"})


def _overrides(run: Config, overrides: Sequence[str]) -> list[str]:
    """Those by which `src.train` repeats the run of a fold, of those that were given to this command."""
    own, trains = (_chosen(name) for name in ("audit", "config"))
    given = {override.partition("=")[0] for override in overrides}
    groups = [f"{key}={option}" for key, option in own.items() if option != trains.get(key) and key not in given]
    values = [f"{key}=false" for key in ("evaluation.slices", "evaluation.figures")]
    values += [f"{key}=0" for key in ("evaluation.explanations", "evaluation.pointing_images")]
    values += ["dataset.split.method=kfold", f"dataset.split.fold={run.dataset.split.fold}", f"name={run.name}"]
    return [*groups, *without_roles(overrides, AuditConfig, LAUNCH, SESSION), *values]


def _chosen(command: str) -> dict[str, str]:
    """The options of the groups in the defaults of `conf/<command>.yaml`."""
    entries = yaml.safe_load((CONF / f"{command}.yaml").read_text())["defaults"]
    return {key: option for entry in entries if isinstance(entry, dict) for key, option in entry.items() if option}


def _report(table: pd.DataFrame, agreement: Score, config: AuditConfig, page: Path, manifest: Path, root: str) -> None:

    console = Console(soft_wrap=True, highlight=False)
    count = int(table["suspect"].sum())
    console.print(
        f"{config.dataset.name}: {count:,} of {len(table):,} labels are contradicted by models that did not see their "
        f"images; these agree with {agreement.value:.3f} [{agreement.low:.3f}, {agreement.high:.3f}] of all labels, "
        f"and the lower that is, the more of these are their own errors; page: {page}"
    )
    named = [f"dataset.{name}={getattr(config.dataset, name)}" for name in ("positive", "negative")]
    console.print(f"correct {manifest} (its column label, or delete lines), then train on it:")
    paths = [quoted("dataset.path", str(manifest)), quoted("dataset.manifest.root", root)]
    console.print(f"  {shell_command('train')} dataset=manifest {' '.join([*paths, *named])}")
    if config.tracking.name != "off":
        metrics = {"audit/images": float(len(table)), "audit/suspects": float(count)}
        log_report(config.tracking, "audit", page.parent, name=f"audit of {config.dataset.name}", metrics=metrics)
