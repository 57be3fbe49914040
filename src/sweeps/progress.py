"""What a person sees of a sweep: a line for each running job, a total with the time left, the result of each job."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from .jobs import Outcome
from .pool import Running, last_line

EPOCH = re.compile(r"^epoch +(\d+)/(\d+)")
SHOWN_SCORES = ("validation/accuracy", "test/accuracy")


class SweepProgress:
    """Bars where the output is a terminal; in any case one line for each job that ended."""

    def __init__(self, total: int, workers: int, console: Console) -> None:
        self.total, self.workers, self.console = total, workers, console
        self.seconds: list[float] = []
        self.done = 0
        columns = (TextColumn("{task.description}"), BarColumn(20), TextColumn("{task.fields[state]}"))
        self.bars = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.whole = self.bars.add_task("all jobs", total=total, state="")
        self.lines: dict[int, TaskID] = {}

    def __enter__(self) -> SweepProgress:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def started(self, running: Running, title: str) -> None:
        """Show a line for a job."""
        self.lines[running.job.number] = self.bars.add_task(title[:60], total=1, state="starting")

    def ended(self, number: int, title: str, outcome: Outcome) -> None:
        """Replace a job's line by its result."""
        self.done += 1
        if number in self.lines:
            self.bars.remove_task(self.lines.pop(number))
            self.seconds.append(outcome.seconds)
        scores = [
            f"{name.replace('/', ' ')} {outcome.scores[name]:.3f}" for name in SHOWN_SCORES if name in outcome.scores
        ]
        told = ", ".join(scores) if outcome.status in ("finished", "skipped") else outcome.reason
        line = f"[{self.done}/{self.total}] {title}: {outcome.status} in {outcome.seconds:.1f} s"
        self.console.print(f"{line}; {told}" if told else line, highlight=False, soft_wrap=True, markup=False)

    def refresh(self, running: Sequence[Running]) -> None:
        """Bring the lines up to what the jobs last said."""
        begun = 0.0
        for each in running:
            said = last_line(each.log)
            epoch = EPOCH.match(said)
            share = int(epoch[1]) / int(epoch[2]) if epoch else 0.0
            begun += share
            self.bars.update(self.lines[each.job.number], completed=share, state=said[:70] or "starting")
        state = f"{self.done}/{self.total}{self._left(running)}"
        self.bars.update(self.whole, completed=self.done + begun, state=state)

    def _left(self, running: Sequence[Running]) -> str:
        if not self.seconds:
            return ""
        mean, now = sum(self.seconds) / len(self.seconds), time.perf_counter()
        spent = sum(min(now - each.started, mean) for each in running)
        left = max(0.0, (self.total - self.done) * mean - spent) / self.workers
        return f", about {left / 60:.0f} min left" if left >= 90 else f", about {left:.0f} s left"
