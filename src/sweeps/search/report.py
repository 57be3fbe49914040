"""What a search leaves on its parent run: its trials, which value mattered, figures, and the winner."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from src.config import TuneConfig
from src.evaluation.style import save_png
from src.sweeps.parent import Parent
from src.sweeps.report import markdown
from src.sweeps.search.figures import optimisation_history, parallel_coordinates
from src.sweeps.search.importance import importances
from src.sweeps.search.oracle import Result, Search, Trial, minimised


def trials_table(search: Search, objective: str, space: Sequence[str]) -> pd.DataFrame:
    """One row for each trial in the order of their beginning: its values, status, score, seconds, run and reason."""
    rows = []
    for key, trial in search.trials.items():
        result = search.results.get(key, Result("failed", reason="not ended"))
        values = {name: trial.values.get(name) for name in space}
        epochs = {} if trial.epochs is None else {"epochs": trial.epochs}
        facts = {"status": result.status, objective: result.score, "seconds": round(result.seconds, 1)}
        rows.append({"trial": int(key), **values, **epochs, **facts, "run": result.run_id, "reason": result.reason})
    return pd.DataFrame(rows).set_index("trial")


def report(search: Search, config: TuneConfig, folder: Path, *, ended: str) -> Path:
    """Write tables and figures to `folder`/report and give that folder."""
    pages = folder / "report"
    shutil.rmtree(pages, ignore_errors=True)
    (pages / "figures").mkdir(parents=True)
    objective = config.tuner.objective
    table = trials_table(search, objective, list(config.space))
    table.to_csv(pages / "trials.csv")
    done = table[table["status"] == "completed"]
    text = [f"{summary(search)}; {ended}.", "", markdown(table.reset_index())]
    if len(done) > 1:
        values, scores = done[[name for name in config.space if done[name].notna().any()]], done[objective]
        minimise = minimised(objective)
        for name, figure in {
            "optimisation_history": optimisation_history(scores, objective, minimise=minimise),
            "parallel_coordinates": parallel_coordinates(values, scores, objective, minimise=minimise),
        }.items():
            save_png(figure, pages / "figures" / f"{name}.png")
        shares = importances(values, scores)
        shares.rename("importance").to_csv(pages / "importance.csv", index_label="value")
        text += ["", *_importance_lines(shares)]
    (pages / "search.md").write_text("\n".join(text))
    return pages


def record(parent: Parent, search: Search, best: tuple[Trial, Result], command: str, pages: Path) -> None:
    """Add the report and the winner to the parent run."""
    trial, result = best
    counts = Counter(each.status for each in search.results.values())
    parent.log_metrics({f"sweep/{status}": float(count) for status, count in counts.items()})
    parent.log_metrics(result.metrics)
    parent.set_tags({"winner.run": result.run_id or "", "winner.command": command, "winner.trial": trial.id})
    parent.note(f"The best trial is {trial.id}:\n\n    {command}\n\n{(pages / 'search.md').read_text()}"[:5000])
    parent.log_folder(pages)


def summary(search: Search) -> str:
    """`30 trials: 27 completed, 2 failed, 1 rejected`."""
    counts = Counter(result.status for result in search.results.values())
    told = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    return f"{len(search.results)} trials: {told or 'none ended'}"


def _importance_lines(shares: pd.Series) -> list[str]:
    if shares.empty:
        return []
    rows = [f"| {name} | {share:.2f} |" for name, share in shares.items()]
    return ["| value | importance |", "| --- | --- |", *rows]
