"""The comparison of recorded runs, from reading them to the page that shows which is better."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from ..config import CompareConfig, output_folder
from ..config.identity import Request
from ..errors import TrackingError
from ..tracking.read import find_runs, log_report, metric_history, read_table
from ..tracking.store import say_store
from .comparison import Comparison, Ranking, compare
from .page import render_html, render_markdown, verdict

CURVE = "val_accuracy"
CURVES_OF_THE_BEST = 6
DESCRIBED = 10  # candidates whose settings are too many for the table; all are on the page


def compare_runs(config: CompareConfig, _: Request | None = None) -> Comparison:
    """Compare the runs that `config` names and write the page. Raises TrackingError where there are none to compare."""
    say_store(config.tracking)
    folder = output_folder(config.output)
    runs = find_runs(config.tracking, config.filter)
    if not runs:
        where = f" that match {config.filter}" if config.filter else ""
        raise TrackingError(f"tracking.experiment={config.tracking.experiment}: no finished runs{where}")
    comparison = compare(
        runs,
        lambda run: read_table(run, "predictions.parquet"),
        config.metric,
        resamples=config.resamples,
        read_robustness=lambda run: read_table(run, "robustness.csv"),
    )
    (folder / "comparison.html").write_text(render_html(comparison, _histories(comparison.rankings[0])))
    (folder / "comparison.md").write_text(render_markdown(comparison))
    for ranking in comparison.rankings:
        ranking.pairs.to_csv(folder / f"pairs-{ranking.test_set.digest}.csv", index=False)
    run_id = log_report(config.tracking, "comparison", folder) if config.log else None
    _show(comparison, folder, run_id)
    return comparison


def _histories(ranking: Ranking) -> dict[str, list[list[float]]]:
    """Validation curves of the best candidates, by label."""
    best = ranking.candidates[:CURVES_OF_THE_BEST]
    curves = {candidate.label: [metric_history(run, CURVE) for run in candidate.runs] for candidate in best}
    found = {label: [values for values in seeds if values] for label, seeds in curves.items()}
    return {label: seeds for label, seeds in found.items() if seeds}


def _show(comparison: Comparison, folder: Path, run_id: str | None) -> None:
    console = Console(markup=False)
    for ranking in comparison.rankings:
        evaluated = f"{ranking.test_set.codes.size:,} images of {ranking.dataset}"
        title = f"Test {comparison.metric.replace('_', ' ')} on {evaluated} (digest {ranking.test_set.digest})"
        table = Table("", "seeds", "mean", "95 % interval", title=title, title_justify="left")
        for candidate, (_, row) in zip(ranking.candidates, ranking.board.iterrows(), strict=True):
            interval = f"{row['low']:.4f} to {row['high']:.4f}"
            table.add_row(candidate.label, str(int(row["seeds"])), f"{row['mean']:.4f}", interval)
        console.print(table)
        for candidate in (each for each in ranking.candidates[:DESCRIBED] if each.number):
            console.print(f"{candidate.label}: {candidate.described}", highlight=False, soft_wrap=True)
        console.print(verdict(ranking, comparison.metric), highlight=False, soft_wrap=True)
    logged = f"; logged as run {run_id}" if run_id else ""
    console.print(f"page: {folder / 'comparison.html'}{logged}", highlight=False, soft_wrap=True)
