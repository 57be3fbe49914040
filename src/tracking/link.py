"""What ties a run to the sweep that it is a job of, and tells the sweep how far the run is."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Progress:
    """How far a run is: `epoch` of `epochs` has ended, with these metrics."""

    epoch: int
    epochs: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class RunLink:
    """How a run belongs to others: the id of its sweep's run, what names the job, and where it says how far it is; or
    the id of the run that it goes on with.

    A job with a `job` that is begun again, because its machine was lost, goes on in the run that it had.
    """

    parent: str | None = None
    job: str | None = None
    status: Path | None = None
    resumed: str | None = None

    def report(self, metrics: Mapping[str, float], epoch: int, epochs: int) -> None:
        """Let the sweep know, in the file `status`, that `epoch` (from 1) of `epochs` has ended."""
        if self.status is not None:
            partial = self.status.with_suffix(".partial")
            values = {name: float(value) for name, value in metrics.items()}
            partial.write_text(json.dumps({"epoch": epoch, "epochs": epochs, "metrics": values}))
            os.replace(partial, self.status)

    def progress(self) -> Progress | None:
        """What was last reported; None before that, and for a job on another machine."""
        if self.status is None or not self.status.exists():
            return None
        return Progress(**json.loads(self.status.read_text()))
