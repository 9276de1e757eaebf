"""Table of the points of learning curves, and its store."""

from __future__ import annotations

import sqlalchemy as sa

from server.core.database.metadata import metadata
from server.core.database.rows import Rows
from server.core.database.store import Store
from server.core.database.types import Id, Timestamp, finite
from server.training.curves.point import MAX_POINTS, TrainingPoint

training_points = sa.Table(
    "training_points",
    metadata,
    sa.Column("trained_id", Id, primary_key=True),
    sa.Column("step", sa.BigInteger, primary_key=True),
    sa.Column("loss", sa.Double),
    sa.Column("top1", sa.Double),
    sa.Column("learning_rate", sa.Double),
    sa.Column("images_per_s", sa.Double),
    sa.Column("at", Timestamp, nullable=False),
    finite("loss"),
    finite("top1"),
    finite("learning_rate"),
    finite("images_per_s"),
)

TRAINING_POINTS = Rows(TrainingPoint, training_points)


class CurveStore(Store):
    """Learning curves as rows, one a report."""

    def add_point(self, point: TrainingPoint) -> None:
        """Let a curve go on; what it had at this step and beyond is replaced.

        A training that was killed resumes from its last checkpoint and reports once more what it reported since.
        """
        c = training_points.c
        its = c.trained_id == point.trained_id
        self._connection.execute(sa.delete(training_points).where(its, c.step >= point.step))
        self._insert(TRAINING_POINTS, point)
        num = self._connection.execute(sa.select(sa.func.count()).select_from(training_points).where(its)).scalar_one()
        if num > MAX_POINTS:
            self._thin(point.trained_id)

    def points_of(self, trained_id: str) -> tuple[TrainingPoint, ...]:
        """The curve of a training, by step."""
        of_it = TRAINING_POINTS.select(training_points.c.trained_id == trained_id)
        return self._list(TRAINING_POINTS, of_it.order_by(training_points.c.step))

    def last_point(self, trained_id: str) -> TrainingPoint | None:
        """The newest point of a curve; None before the first."""
        of_it = TRAINING_POINTS.select(training_points.c.trained_id == trained_id)
        return self._first(TRAINING_POINTS, of_it.order_by(training_points.c.step.desc()).limit(1))

    def _thin(self, trained_id: str) -> None:
        """Forget every second point, neither the first nor the last."""
        c = training_points.c
        place = sa.func.row_number().over(order_by=c.step)
        ranked = sa.select(c.step, place.label("place")).where(c.trained_id == trained_id).subquery()
        last = sa.select(sa.func.max(c.step)).where(c.trained_id == trained_id).scalar_subquery()
        every_second = sa.select(ranked.c.step).where(ranked.c.place % 2 == 0, ranked.c.step != last)
        its = sa.delete(training_points).where(c.trained_id == trained_id, c.step.in_(every_second))
        self._connection.execute(its)
