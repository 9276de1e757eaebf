"""The table of classifications and its store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from nas_engine.domain.measuring.environment import Dtype
from server.candidates.states import EvaluationSource
from server.classifying.classification import ClassificationQuery, ClassificationRecord
from server.core.database.metadata import metadata
from server.core.database.rows import Rows
from server.core.database.store import Store, where_given
from server.core.database.types import Digest, EnumText, Id, Label, Timestamp, finite
from server.core.paging import Page, PageRequest
from server.fleet.device import HardwareProfile
from server.fleet.store import ENVIRONMENT, HardwareStore, hardware

classifications = sa.Table(
    "classifications",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("source", EnumText(EvaluationSource), nullable=False),
    sa.Column("images_sha256", Digest, nullable=False),
    sa.Column("num_images", sa.BigInteger, nullable=False),
    sa.Column("num_classes", sa.BigInteger, nullable=False),
    sa.Column("num_correct", sa.BigInteger, nullable=False),
    sa.Column("model_sha256", Digest, nullable=False),
    sa.Column("source_sha256", Digest, nullable=False),
    sa.Column("dtype", EnumText(Dtype), nullable=False),
    sa.Column("batch", sa.BigInteger, nullable=False),
    sa.Column("hardware_key", Digest, sa.ForeignKey("hardware.hardware_key")),
    sa.Column("device_type", Label),
    sa.Column("device_id", Id, sa.ForeignKey("devices.id"), index=True),
    sa.Column("job_id", Id),
    sa.Column("lease_id", Id, unique=True),
    sa.Column("search_id", Id, index=True),
    sa.Column("candidate_id", Id, index=True),
    sa.Column("arch_id", Digest),
    sa.Column("label", Label, nullable=False),
    sa.Column("predictions", sa.LargeBinary, nullable=False),
    sa.Column("reference_id", Id),
    sa.Column("loss", sa.Double),
    sa.Column("loss_standard_error", sa.Double),
    sa.Column("agreement", sa.Double),
    sa.Column("superseded", sa.Boolean, nullable=False),
    sa.Column("environment", ENVIRONMENT),
    sa.Column("result_digest", Digest),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Index("ix_classifications_source_sha256_images_sha256", "source_sha256", "images_sha256"),
    finite("loss"),
    finite("loss_standard_error"),
    finite("agreement"),
)


_PATHS = {
    "hardware_key": "hardware.digest",
    "reference_id": "loss.reference_id",
    "loss": "loss.value",
    "loss_standard_error": "loss.standard_error",
    "agreement": "loss.agreement",
}
_JOINED = {"hardware": hardware.c.document}
_UNLISTED = ("predictions", "environment")
CLASSIFICATIONS = Rows(ClassificationRecord, classifications, paths=_PATHS, joined=_JOINED)
LISTED = Rows(  # two bytes an image and a quarter of a MiB of environment are left out of pages of a thousand
    ClassificationRecord, classifications, paths=_PATHS, joined=_JOINED, beside=_UNLISTED, apart=_UNLISTED
)
COMPARED = Rows(  # what a loss is worked out from
    ClassificationRecord,
    classifications,
    paths=_PATHS,
    joined=_JOINED,
    beside=("environment",),
    apart=("environment",),
)
COMPARED_AT_ONCE = 50  # in memory, of two bytes an image


class ClassificationStore(Store):
    """The classifications of image sets as rows."""

    def add_classification(self, record: ClassificationRecord) -> None:
        """Store a classification with its predictions."""
        if record.hardware is not None:
            HardwareStore(self._tx).put_hardware(HardwareProfile(key=record.hardware))
        self._insert(CLASSIFICATIONS, record)

    def get_classification(self, classification_id: str) -> ClassificationRecord:
        """Read a classification with its predictions. Raises NotFoundError."""
        statement = CLASSIFICATIONS.select(classifications.c.id == classification_id)
        return self._one(CLASSIFICATIONS, statement, "classification", classification_id)

    def classification_of_lease(self, lease_id: str) -> ClassificationRecord | None:
        """Find the classification that one lease delivered; None where it delivered none."""
        return self._first(CLASSIFICATIONS, CLASSIFICATIONS.select(classifications.c.lease_id == lease_id))

    def page_of_classifications(self, query: ClassificationQuery, page: PageRequest) -> Page[ClassificationRecord]:
        """List the classifications that a query selects, newest first, without predictions and environments."""
        return self._page(LISTED, _filtered(query), page, id_column=classifications.c.id, descending=True)

    def reference_for(self, record: ClassificationRecord) -> ClassificationRecord | None:
        """The float answers of its source model to the very same images: a worker's before a device's, the newest."""
        c = classifications.c
        statement = COMPARED.select(
            *_same_images(record), c.dtype == Dtype.FP32, c.source != EvaluationSource.SIMULATED
        )
        last = sa.case((c.source == EvaluationSource.EVALUATED, 0), else_=1)
        return self._first(COMPARED, statement.order_by(last, c.id.desc()).limit(1))

    def without_loss(self, record: ClassificationRecord) -> Iterator[ClassificationRecord]:
        """Devices' answers of its source model to the very same images that have no loss, oldest first, few at a time.

        They may be given one while this goes on. Environments are left out.
        """
        c = classifications.c
        statement = COMPARED.select(
            *_same_images(record), c.loss.is_(None), c.source != EvaluationSource.EVALUATED
        ).order_by(c.id)
        after = ""
        while found := self._list(COMPARED, statement.where(c.id > after).limit(COMPARED_AT_ONCE)):
            yield from found
            after = found[-1].id

    def classifications_of_candidates(self, candidate_ids: Sequence[str]) -> tuple[ClassificationRecord, ...]:
        """The authoritative ones of devices for these candidates, oldest first, without predictions."""
        c = classifications.c
        of_devices = (c.device_id.is_not(None), c.superseded.is_(False))
        found = self._list_in(LISTED, c.candidate_id, candidate_ids, *of_devices)
        return tuple(sorted(found, key=lambda record: record.id))

    def set_loss_of_classification(self, record: ClassificationRecord) -> None:
        """Write the loss of a stored one."""
        row = CLASSIFICATIONS.row_of(record)
        loss = {name: row[name] for name in ("reference_id", "loss", "loss_standard_error", "agreement")}
        self._connection.execute(sa.update(classifications).where(classifications.c.id == record.id).values(loss))


def _same_images(record: ClassificationRecord) -> tuple[sa.ColumnElement[bool], ...]:
    """Authoritative ones of its source model and the very images that it has."""
    c = classifications.c
    return (
        c.source_sha256 == record.source_sha256,
        c.images_sha256 == record.images_sha256,
        c.num_images == record.num_images,
        c.superseded.is_(False),
    )


def _filtered(query: ClassificationQuery) -> sa.Select[Any]:
    c = classifications.c
    statement = where_given(
        LISTED.select(),
        {
            c.device_type: query.device_type,
            c.device_id: query.device_id,
            c.hardware_key: query.hardware_key,
            c.images_sha256: query.images_sha256,
            c.source_sha256: query.source_sha256,
            c.search_id: query.search_id,
            c.candidate_id: query.candidate_id,
        },
    )
    return statement if query.include_superseded else statement.where(c.superseded.is_(False))
