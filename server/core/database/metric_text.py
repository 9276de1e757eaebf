"""The column type of metrics that are named alone."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator

from nas_engine.domain.metric import Metric
from nas_engine.domain.metrics import stored_metric


class MetricText(TypeDecorator[Metric]):
    """A metric, stored as its name."""

    impl = sa.String(200)
    cache_ok = True

    def process_bind_param(self, value: Metric | None, dialect: sa.Dialect) -> str | None:
        """Write a metric as its name."""
        return None if value is None else value.name

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Metric | None:
        """Read the metric of a name, whether it is installed or not."""
        return None if value is None else stored_metric(value)
