"""What a broker keeps on its disk: jobs that it took, and answers that were not taken yet."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from farsite.vnfs.broker.jobs import Answer, Job, answer_from_json, answer_to_json, job_from_json, job_to_json


class Kept:
    """A directory, private to the account, with a file per job and per answer. Files are written whole and
    renamed, so one that is there is readable."""

    def __init__(self, directory: Path) -> None:
        self._jobs, self._answers = directory / "jobs", directory / "answers"
        for place in (directory, self._jobs, self._answers):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            # What somebody before us died over; there may be secrets in it.
            for unfinished in place.glob(".*"):
                unfinished.unlink(missing_ok=True)

    def take(self, job: Job) -> None:
        """Write a job down, before it is begun."""
        _write(self._jobs / job.id, job_to_json(job))

    def answered(self, answer: Answer) -> None:
        """Write an answer down; the job, with its secrets, goes."""
        _write(self._answers / answer.job_id, answer_to_json(answer))
        (self._jobs / answer.job_id).unlink(missing_ok=True)

    def told(self, job_id: str) -> None:
        """Farsite has the answer."""
        (self._answers / job_id).unlink(missing_ok=True)

    def is_known(self, job_id: str) -> bool:
        """Whether the job was taken already, and its answer not told yet."""
        return (self._jobs / job_id).exists() or (self._answers / job_id).exists()

    def known(self) -> list[str]:
        """Ids of all jobs that were taken and whose answer was not told yet."""
        return [path.name for place in (self._jobs, self._answers) for path in _by_age(place)]

    def jobs(self) -> Iterator[Job]:
        """Jobs that were taken and have no answer, the oldest first."""
        for path in _by_age(self._jobs):
            with contextlib.suppress(ValueError, OSError):
                yield job_from_json(json.loads(path.read_text()))

    def answers(self) -> Iterator[Answer]:
        """Answers that were not told."""
        for path in _by_age(self._answers):
            with contextlib.suppress(ValueError, OSError):
                yield answer_from_json(json.loads(path.read_text()))


def _by_age(directory: Path) -> list[Path]:
    return sorted(
        (path for path in directory.iterdir() if not path.name.startswith(".")),
        key=lambda path: path.stat().st_mtime_ns,
    )


def _write(path: Path, body: object) -> None:
    descriptor, name = tempfile.mkstemp(prefix=".", dir=path.parent)
    with os.fdopen(descriptor, "w") as file:
        json.dump(body, file)
        file.flush()
        os.fsync(file.fileno())
    Path(name).rename(path)
