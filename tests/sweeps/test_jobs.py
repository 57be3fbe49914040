"""The outcome of a job: whose failure it was."""

from __future__ import annotations

import pytest

from src.config.identity import Request
from src.errors import TrackingError, TrainingError
from src.sweeps.jobs import Job, Outcome, execute


class FailingJob(Job):
    """A job that fails as `error` says."""

    error: BaseException

    def run(self) -> Outcome:
        try:
            raise self.error
        except OSError as error:
            raise TrainingError("the state of the fit cannot be kept; make room") from error


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (OSError(28, "No space left on device"), True),
        (OSError(2, "No such file or directory"), False),
        (MemoryError(), True),
        (TrackingError("nothing answers"), True),
        (TrainingError("the loss is nan"), False),
        (ValueError("a defect"), False),
    ],
)
def test_a_failure_of_the_surroundings_is_told_from_one_of_the_job(error: Exception, transient: bool) -> None:
    job = FailingJob(0, None, Request("a", "train"))
    object.__setattr__(job, "error", error)
    outcome = execute(job)
    assert (outcome.status, outcome.transient) == ("failed", transient)
