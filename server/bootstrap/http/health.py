"""What readyz and the metrics ask of the database, the store of artifacts and the queue."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import sqlalchemy as sa
from prometheus_client.core import GaugeMetricFamily, Metric

from server.artifacts.files import FileByteStore
from server.bootstrap.http.schemas import ReadinessCheck
from server.bootstrap.schema import current_revision, head_revision
from server.jobs.dispatch import Dispatch


def database_check(engine: sa.Engine, min_free_bytes: int) -> ReadinessCheck:
    """Whether the database answers, has this server's schema, and can be written."""
    try:
        current = current_revision(engine)
    except sa.exc.SQLAlchemyError as error:
        return ReadinessCheck(name="database", ok=False, detail=f"not reachable: {type(error).__name__}")
    newest = head_revision()
    if current != newest:
        return ReadinessCheck(name="database", ok=False, detail=f"schema is {current}, this server needs {newest}")
    if engine.dialect.name == "sqlite":
        file = Path(str(engine.url.database)).absolute()
        for path in (file, file.parent):
            if not os.access(path, os.W_OK):  # what is there can still be read
                detail = f"{path} cannot be written: mount its disk for writing, or give it to this user"
                return ReadinessCheck(name="database", ok=False, detail=detail)
        free_bytes = shutil.disk_usage(file.parent).free
        if free_bytes < min_free_bytes:
            detail = f"its disk has {free_bytes} bytes free, {min_free_bytes} must stay free (HILNAS_MIN_FREE_BYTES)"
            return ReadinessCheck(name="database", ok=False, detail=detail)
    return ReadinessCheck(name="database", ok=True, detail=f"schema {current}")


def artifacts_check(files: FileByteStore) -> ReadinessCheck:
    """Whether the store of artifacts takes uploads."""
    fault = files.fault()
    return ReadinessCheck(name="artifacts", ok=fault is None, detail=fault or "uploads are taken")


def job_depths(dispatch: Dispatch) -> Metric:
    """How many jobs of each kind wait and run."""
    jobs = GaugeMetricFamily("hilnas_jobs", "Jobs that wait and run.", labels=("kind", "state"))
    for depth in dispatch.depths():
        jobs.add_metric((depth.kind.value, "queued"), depth.num_queued)
        jobs.add_metric((depth.kind.value, "leased"), depth.num_leased)
    return jobs
