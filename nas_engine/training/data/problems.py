"""Problems of a data set, gathered while it is read, so that one run names them all."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType

from nas_engine.domain.errors import DatasetError

MAX_LISTED = 20
"""So many problems are written out; the others are counted."""


class Problems:
    """What is wrong with one data set; who reads it goes on as far as it can, then refuses it."""

    def __init__(self, subject: str) -> None:
        """`subject` is the file, the folder or the name that the message begins with."""
        self._subject = subject
        self._listed: list[str] = []
        self._count = 0
        self._refusal: DatasetError | None = None

    def __len__(self) -> int:
        return self._count

    @property
    def listed(self) -> tuple[str, ...]:
        """The first of them, as they were found."""
        return tuple(self._listed)

    def add(self, problem: str) -> None:
        """Note one: where it is, what is wrong, what to do."""
        self._count += 1
        if len(self._listed) < MAX_LISTED:
            self._listed.append(problem)

    def gathered(self) -> AbstractContextManager[None, bool]:
        """Note what a part of the reading raises as DatasetError, and go on after it."""
        return _Gathering(self)

    def add_all(self, error: DatasetError) -> None:
        """Note all that an error says; nothing where it is these problems' own."""
        if error is self._refusal:
            return
        for problem in error.problems:
            self.add(problem)
        self._count += error.num_problems - len(error.problems)

    def refuse(self) -> None:
        """Raise DatasetError with all that was found; nothing where nothing was."""
        if not self._count:
            return
        if self._count == 1:
            message = f"{self._subject}: {self._listed[0]}"
        else:
            more = self._count - len(self._listed)
            rest = f"\n- and {more} more" if more else ""
            message = f"{self._subject} has {self._count} problems:\n- " + "\n- ".join(self._listed) + rest
        self._refusal = DatasetError(message, self._listed, self._count)
        raise self._refusal


class _Gathering(AbstractContextManager[None, bool]):
    """What `Problems.gathered` opens: not of contextlib's making, so that type checkers know that it swallows."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems

    def __enter__(self) -> None:
        """Nothing is prepared."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, DatasetError):
            return False
        self._problems.add_all(error)
        return True
