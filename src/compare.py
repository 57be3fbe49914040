"""Which runs are really better, and by how much: `python -m src.compare experiment=NAME metric=accuracy`.

Reads recorded runs, compares those evaluated on the same test pictures, writes one HTML page and a Markdown table to
`output` and logs both to the experiment.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .cli.hydra_command import hydra_command
from .config import CompareConfig, project_path

if TYPE_CHECKING:
    from .comparison.comparison import Comparison, Ranking

CURVE = "fit/val_accuracy"
CURVES_OF_THE_BEST = 6


def compare_runs(config: CompareConfig, _: Sequence[str] = ()) -> Comparison:
    """Compare the runs that `config` names and write the page. Raises TrackingError where there are none to compare."""
    from .comparison.comparison import compare
    from .comparison.comparison_page import render_html, render_markdown
    from .errors import TrackingError
    from .tracking.read import find_runs, log_report, read_table

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
    folder = project_path(config.output)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "comparison.html").write_text(render_html(comparison, _histories(comparison.rankings[0])))
    (folder / "comparison.md").write_text(render_markdown(comparison))
    for ranking in comparison.rankings:
        ranking.pairs.to_csv(folder / f"pairs-{ranking.test_set.digest}.csv", index=False)
    run_id = log_report(config.tracking, "comparison", folder) if config.log else None
    _show(comparison, folder, run_id)
    return comparison


def _histories(ranking: Ranking) -> dict[str, list[list[float]]]:
    """Validation curves of the best candidates, by label."""
    from .tracking.read import metric_history

    best = ranking.candidates[:CURVES_OF_THE_BEST]
    curves = {candidate.label: [metric_history(run, CURVE) for run in candidate.runs] for candidate in best}
    found = {label: [values for values in seeds if values] for label, seeds in curves.items()}
    return {label: seeds for label, seeds in found.items() if seeds}


def _show(comparison: Comparison, folder: Path, run_id: str | None) -> None:
    from rich.console import Console
    from rich.table import Table

    from .comparison.comparison_page import verdict

    console = Console()
    for ranking in comparison.rankings:
        evaluated = f"{ranking.test_set.codes.size:,} pictures of {ranking.dataset}"
        title = f"Test {comparison.metric.replace('_', ' ')} on {evaluated} (digest {ranking.test_set.digest})"
        table = Table("", "seeds", "mean", "95 % interval", title=title, title_justify="left")
        for candidate, (_, row) in zip(ranking.candidates, ranking.board.iterrows(), strict=True):
            interval = f"{row['low']:.4f} to {row['high']:.4f}"
            table.add_row(candidate.label, str(int(row["seeds"])), f"{row['mean']:.4f}", interval)
        console.print(table)
        console.print(verdict(ranking, comparison.metric), highlight=False, soft_wrap=True)
    logged = f"; logged as run {run_id}" if run_id else ""
    console.print(f"page: {folder / 'comparison.html'}{logged}", highlight=False, soft_wrap=True)


def as_override(argument: str) -> str:
    """An argument in Hydra's grammar: `filter=` may hold quotes, `experiment=` is short for its long key."""
    key, equals, value = argument.partition("=")
    if key == "experiment" and equals:
        return f"tracking.experiment={value}"
    if key == "filter" and equals and not value.startswith(('"', "'")):
        escaped = value.replace('"', '\\"')
        return f'filter="{escaped}"'
    return argument


def main() -> None:
    """Run the command on `sys.argv`."""
    sys.argv[1:] = [as_override(argument) for argument in sys.argv[1:]]
    hydra_command(compare_runs, schema=CompareConfig, config_name="compare")()


if __name__ == "__main__":
    main()
