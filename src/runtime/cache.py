"""Answers kept between runs, so that a second pass over an unchanged folder reads no image again."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from ..errors import DataError
from .classifier import Answer, Answering
from .image_files import ImageFile

WRITTEN_AT_ONCE = 256


class AnswerCache:
    """Answers by model, absolute path, size and time of change; a verdict is as good an answer as a label."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self.database = database
        database.execute(
            "CREATE TABLE IF NOT EXISTS answered (model, path, size, changed, label, probability, confidence, verdict,"
            " detail, evidence, PRIMARY KEY (model, path)) WITHOUT ROWID"
        )

    def answers(self, classifier: Answering, images: Iterable[ImageFile]) -> Iterator[Answer]:
        """One answer for each image, in order; only those that are new or changed are read."""
        chunk: list[ImageFile] = []
        for image in images:
            chunk.append(image)
            if len(chunk) == WRITTEN_AT_ONCE:
                yield from self._chunk(classifier, chunk)
                chunk = []
        yield from self._chunk(classifier, chunk)

    def _chunk(self, classifier: Answering, images: list[ImageFile]) -> Iterator[Answer]:
        known = [self._find(classifier.model_id, image) for image in images]
        missing = [image for image, answer in zip(images, known, strict=True) if answer is None]
        states = [_state(image) for image in missing]  # before they are read: a later change is then seen
        made = list(classifier.answers(missing))
        with self.database:
            for answer, state in zip(made, states, strict=True):
                self._keep(answer, state)
        new = iter(made)
        for found in known:
            yield found or next(new)

    def _find(self, model: str, image: ImageFile) -> Answer | None:
        state = _state(image)
        if state is None:
            return None
        found = self.database.execute(
            "SELECT label, probability, confidence, verdict, detail, evidence FROM answered"
            " WHERE (model, path, size, changed) = (?, ?, ?, ?)",
            (model, *state),
        ).fetchone()
        if found is None:
            return None
        label, probability, confidence, verdict, detail, evidence = found
        return Answer(image.path, label, probability, confidence, verdict, model, detail, evidence)

    def _keep(self, answer: Answer, state: tuple[Any, ...] | None) -> None:
        if state is not None:
            said = (answer.label, answer.probability, answer.confidence, answer.verdict, answer.detail, answer.evidence)
            values = (answer.model, *state, *said)
            self.database.execute("INSERT OR REPLACE INTO answered VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)


@contextmanager
def cached_answers(file: Path, classifier: Answering, images: Iterable[ImageFile]) -> Iterator[Iterator[Answer]]:
    """Answers through the cache in `file`, made where there is none. Raises DataError where it is no such file."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(file)
        cache = AnswerCache(database)
    except (sqlite3.Error, OSError) as error:
        raise DataError(f"{file}: cannot be used as a cache of answers: {error}") from None
    with closing(database):
        try:
            yield cache.answers(classifier, images)
        except sqlite3.Error as error:
            raise DataError(f"{file}: cannot be used as a cache of answers: {error}") from None


def _state(image: ImageFile) -> tuple[bytes, int, int] | None:
    """Absolute path (as bytes: names may be no text), size and time of change; None for what is no file to be read."""
    if image.data is not None or not os.access(image.path, os.R_OK):
        return None
    try:
        status = os.stat(image.path)
    except OSError:
        return None
    return os.fsencode(os.path.abspath(image.path)), status.st_size, status.st_mtime_ns
