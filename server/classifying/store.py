"""The table of classifications and its store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from nas_engine.domain.environment import Dtype, HardwareKey
from server.candidates.states import EvaluationSource
from server.classifying.classification import ClassificationQuery, ClassificationRecord, Loss
from server.core.database.keyset import fetch_page
from server.core.database.metadata import metadata
from server.core.database.store import Store, chunks
from server.core.database.types import Digest, Id, Json, Label, Timestamp, finite
from server.core.paging import Page, PageRequest
from server.fleet.store import hardware

classifications = sa.Table(
    "classifications",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("source", Label, nullable=False),
    sa.Column("images_sha256", Digest, nullable=False),
    sa.Column("num_images", sa.BigInteger, nullable=False),
    sa.Column("num_classes", sa.BigInteger, nullable=False),
    sa.Column("num_correct", sa.BigInteger, nullable=False),
    sa.Column("model_sha256", Digest, nullable=False),
    sa.Column("source_sha256", Digest, nullable=False),
    sa.Column("dtype", Label, nullable=False),
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
    sa.Column("environment", Json),
    sa.Column("result_digest", Digest),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Index("ix_classifications_source_sha256_images_sha256", "source_sha256", "images_sha256"),
    finite("loss"),
    finite("loss_standard_error"),
    finite("agreement"),
)


_SAME = (
    "id",
    "images_sha256",
    "num_images",
    "num_classes",
    "num_correct",
    "model_sha256",
    "source_sha256",
    "batch",
    "device_type",
    "device_id",
    "job_id",
    "lease_id",
    "search_id",
    "candidate_id",
    "arch_id",
    "label",
    "predictions",
    "superseded",
    "environment",
    "result_digest",
    "created_at",
)


_JOINED: sa.Select[Any] = sa.select(classifications, hardware.c.document.label("hardware")).outerjoin(
    hardware, hardware.c.hardware_key == classifications.c.hardware_key
)


class ClassificationStore(Store):
    """Classifications as rows."""

    def add(self, record: ClassificationRecord) -> None:
        """Store one."""
        key = record.hardware
        if key is not None:
            self._insert_ignore(hardware, [{"hardware_key": key.digest, "document": key.to_json()}])
        row = {
            **{name: getattr(record, name) for name in _SAME},
            "source": record.source.value,
            "dtype": record.dtype.value,
            "hardware_key": None if key is None else key.digest,
            **_loss_row(record.loss),
        }
        self._connection.execute(sa.insert(classifications).values(row))

    def get(self, classification_id: str) -> ClassificationRecord:
        """Read one."""
        statement = _JOINED.where(classifications.c.id == classification_id)
        return _record(self._one(statement, "classification", classification_id))

    def of_lease(self, lease_id: str) -> ClassificationRecord | None:
        """What one lease brought."""
        row = self._connection.execute(_JOINED.where(classifications.c.lease_id == lease_id)).one_or_none()
        return None if row is None else _record(row)

    def page(self, query: ClassificationQuery, page: PageRequest) -> Page[ClassificationRecord]:
        """List, newest first."""
        return fetch_page(
            self._connection,
            _filtered(query),
            page,
            id_column=classifications.c.id,
            from_row=_record,
            descending=True,
        )

    def of_same_images(self, record: ClassificationRecord) -> tuple[ClassificationRecord, ...]:
        """Authoritative ones of the same source model and the very same images, newest first."""
        c = classifications.c
        statement = _JOINED.where(
            c.source_sha256 == record.source_sha256,
            c.images_sha256 == record.images_sha256,
            c.num_images == record.num_images,
            c.superseded.is_(False),
        ).order_by(c.id.desc())
        return tuple(_record(row) for row in self._connection.execute(statement))

    def of_candidates(self, candidate_ids: Sequence[str]) -> tuple[ClassificationRecord, ...]:
        """The authoritative ones of devices for these candidates, oldest first."""
        c = classifications.c
        found: list[ClassificationRecord] = []
        for ids in chunks(candidate_ids):
            statement = _JOINED.where(c.candidate_id.in_(ids), c.device_id.is_not(None), c.superseded.is_(False))
            found += [_record(row) for row in self._connection.execute(statement)]
        return tuple(sorted(found, key=lambda record: record.id))

    def set_loss(self, record: ClassificationRecord) -> None:
        """Write the loss of a stored one."""
        statement = sa.update(classifications).where(classifications.c.id == record.id)
        self._connection.execute(statement.values(_loss_row(record.loss)))


def _filtered(query: ClassificationQuery) -> sa.Select[Any]:
    c, statement = classifications.c, _JOINED
    for column, wanted in (
        (c.device_type, query.device_type),
        (c.device_id, query.device_id),
        (c.hardware_key, query.hardware_key),
        (c.images_sha256, query.images_sha256),
        (c.source_sha256, query.source_sha256),
        (c.search_id, query.search_id),
        (c.candidate_id, query.candidate_id),
    ):
        if wanted is not None:
            statement = statement.where(column == wanted)
    return statement if query.include_superseded else statement.where(c.superseded.is_(False))


def _loss_row(loss: Loss | None) -> dict[str, Any]:
    return {
        "reference_id": None if loss is None else loss.reference_id,
        "loss": None if loss is None else loss.value,
        "loss_standard_error": None if loss is None else loss.standard_error,
        "agreement": None if loss is None else loss.agreement,
    }


def _record(row: sa.Row[Any]) -> ClassificationRecord:
    loss = None
    if row.reference_id is not None:
        loss = Loss(
            reference_id=row.reference_id,
            value=row.loss,
            standard_error=row.loss_standard_error,
            agreement=row.agreement,
        )
    same = {name: getattr(row, name) for name in _SAME if name != "predictions"}
    return ClassificationRecord(
        **same,
        predictions=bytes(row.predictions),
        source=EvaluationSource(row.source),
        dtype=Dtype(row.dtype),
        hardware=None if row.hardware is None else HardwareKey.from_json(row.hardware),
        loss=loss,
    )
