"""Compare a thousand recorded runs of ten thousand predictions: `python -m benchmarks.compare_runs [RUNS] [IMAGES]`.

Makes a SQLite store of such runs (every config with twenty seeds), then times
`python -m src.compare` on it: reading, comparing, figures and the page.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import Metric, Param

SEEDS = 20
EXPERIMENT = "happy-sad"


def main(runs: int = 1000, images: int = 10_000) -> None:
    """Print seconds and peak memory of the whole command."""
    with tempfile.TemporaryDirectory() as folder:
        uri = f"sqlite:///{folder}/mlflow.db"
        _record(uri, Path(folder) / "artifacts", runs, images)
        started = time.perf_counter()
        command = [sys.executable, "-m", "src.compare", f"tracking.uri={uri}", "log=false", f"output={folder}/page"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9
    print(f"{runs:,} runs of {images:,} predictions: {seconds:.1f} s, peak {peak:.2f} GB")


def _record(uri: str, artifacts: Path, runs: int, images: int) -> None:
    client = mlflow.MlflowClient(uri)
    experiment = client.create_experiment(EXPERIMENT, artifact_location=artifacts.as_uri())
    random = np.random.default_rng(0)
    table = _predictions(images)
    for number in range(runs):
        params = {f"group.setting{place}": "value" for place in range(80)}
        params |= {"model.name": f"model{number // SEEDS}", "seed": str(number % SEEDS), "dataset.name": "made"}
        metrics = {f"test/score{place}": random.random() for place in range(60)}
        metrics |= {"fit/seconds": 60.0, "model/parameters": 1e6, "model/flops": 1e8}
        run = client.create_run(experiment, run_name=f"run{number}")
        now = int(time.time() * 1000)
        client.log_batch(
            run.info.run_id,
            [Metric(name, value, now, 0) for name, value in metrics.items()],
            [Param(name, value) for name, value in params.items()],
        )
        folder = Path(run.info.artifact_uri.removeprefix("file://"))
        folder.mkdir(parents=True)
        predicted = (table["label"] == 1) ^ (random.random(images) < 0.1)
        table.assign(predicted=predicted).to_parquet(folder / "predictions.parquet", index=False)
        client.set_terminated(run.info.run_id)


def _predictions(count: int) -> pd.DataFrame:
    """Test predictions as a run records them; of 19 in 20 groups there is one image, of the others two."""
    rows = np.arange(count)
    probability = np.random.default_rng(1).random(count)
    return pd.DataFrame(
        {
            "sha256": [f"{row:064x}" for row in rows],
            "group": np.where(rows % 20 == 1, rows - 1, rows),
            "label": rows % 2,
            "split": "test",
            "probability": probability,
            "uncalibrated": probability,
            "predicted": False,
        }
    )


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
