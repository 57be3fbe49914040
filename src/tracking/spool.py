"""What a run has to tell its tracking store, kept on disk until the store has it, and sent in order.

An event is one line of JSON, on disk before `add` returns. A thread sends the events; while the server is away they
wait, and whoever adds them does not. Sending twice what a server had already taken changes nothing there: MLflow knows
a metric again by its key, value, step and time, and all four are in the event.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..journal import append_entry, read_entries

Event = Mapping[str, Any]
EVENTS, SENT = "spool.jsonl", "sent"
METRICS_PER_REQUEST = 1000
FIRST_PAUSE, MAX_PAUSE = 0.5, 10.0


class ServerAwayError(Exception):
    """A server that does not answer, or not sensibly: what was to be sent can be sent later."""


class ServerRejectedError(Exception):
    """A server that answers, but does not accept what was sent: sending it again would not help."""


class Spool:
    """The events of one run in `folder`, and the thread that sends them by `send(events)`.

    `send` gets one event, or several in a row that hold metrics; it raises ServerAwayError or ServerRejectedError.
    After a rejection nothing more is sent and `rejected` has the reason.
    """

    def __init__(self, folder: Path, send: Callable[[Sequence[Event]], None]) -> None:
        self.folder, self.send = folder, send
        folder.mkdir(parents=True, exist_ok=True)
        self.events = read_events(folder)
        self.sent = _read_sent(folder)
        self.rejected = ""
        self.reason = ""  # of the store's being away
        self.away = False
        self.changed = threading.Condition()
        self.closing = threading.Event()
        self.thread = threading.Thread(target=self._work, name="spool", daemon=True)
        self.thread.start()

    @property
    def delivered(self) -> bool:
        """Whether the server has all events."""
        return self.sent == len(self.events)

    def add(self, event: Event) -> None:
        """Keep an event for sending; it survives the end of this process from now on. Raises OSError."""
        with self.changed:  # threads that add events write them in the order in which they are sent
            append_entry(self.folder / EVENTS, event)
            self.events.append(event)
            self.changed.notify_all()

    def close(self, patience: float) -> bool:
        """Wait until all is sent, for as long as something is sent every `patience` seconds; says whether all is."""
        with self.changed:
            # Any sending notifies; a wait that ends without a notice found the server away for that long.
            while not (self.delivered or self.rejected) and self.changed.wait(patience):
                pass
        self.closing.set()
        with self.changed:
            self.changed.notify_all()
        self.thread.join(patience)
        return self.delivered

    def _work(self) -> None:
        pause = FIRST_PAUSE
        while events := self._next():
            try:
                self.send(events)
            except ServerAwayError as error:
                self._tell_away(str(error))
                self.closing.wait(pause)
                pause = min(2 * pause, MAX_PAUSE)
            except ServerRejectedError as error:
                with self.changed:
                    self.rejected = str(error)
                    self.changed.notify_all()
                return
            else:
                pause = FIRST_PAUSE
                self._note_sent(len(events))

    def _next(self) -> Sequence[Event]:
        """The events to send next, waiting for the first; none when there are none left and the spool is closed."""
        with self.changed:
            self.changed.wait_for(lambda: not self.delivered or self.closing.is_set())
            # One that was cut off by `close` may come back to a server that is still away: then this is the end of it.
            if self.delivered or (self.closing.is_set() and self.away):
                return []
            return leading_batch(self.events[self.sent :])

    def _note_sent(self, count: int) -> None:
        with self.changed:
            self.sent += count
            with contextlib.suppress(OSError):  # on a full disk: then what was sent is sent again, which is harmless
                (self.folder / SENT).write_text(str(self.sent))
            self.changed.notify_all()
        if self.away:
            self.away = False
            print("the tracking store is back", file=sys.stderr)

    def _tell_away(self, reason: str) -> None:
        told, self.away, self.reason = self.away, True, reason
        if not told and not self.closing.is_set():  # after that, whoever closed the spool says it
            print(f"the tracking store does not answer ({reason}); metrics wait in {self.folder}", file=sys.stderr)


def leading_batch(events: Sequence[Event]) -> Sequence[Event]:
    """The events in front that fit into one request: several where they hold metrics, else one."""
    count = total = 0
    while count < len(events) and "metrics" in events[count]:
        total += len(events[count]["metrics"])
        if count and total > METRICS_PER_REQUEST:
            break
        count += 1
    return events[: max(count, 1)]


def read_events(folder: Path) -> list[Event]:
    """The events kept in `folder`, but for one that a killed process did not finish. Raises DataError."""
    return list(read_entries(folder / EVENTS))


def _read_sent(folder: Path) -> int:
    file = folder / SENT
    text = file.read_text(errors="replace") if file.exists() else ""
    return int(text) if text.isdecimal() else 0  # sent once more, which is harmless


def milliseconds() -> int:
    """Now, since 1970."""
    return int(time.time() * 1000)
