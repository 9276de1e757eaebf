"""Conversions on disk, the failed ones too: a model that kills the compiler is not tried twice."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nas_engine.domain.errors import ConversionError, ConversionFailure, ExportError
from nas_engine.domain.host.scratch import scratch_folder
from nas_engine.domain.json_value import canonical_json
from nas_engine.domain.measuring.cycle_table import CycleTable
from nas_engine.export.rknn.settings import ConversionKey

_MODEL, _TABLE, _LOG, _FAILURE, _KEY = "model.rknn", "cycles.json", "log.txt", "failure.json", "key.json"


@dataclass(frozen=True, slots=True)
class Conversion:
    """A converted model and what the compiler says about it: two artifacts of one conversion.

    Attributes:
        key: what it depends on.
        model: the .rknn file.
        table: the compiler's table of layers.
        log: what the toolkit printed; empty for conversions that were stored before it was kept.
    """

    key: ConversionKey
    model: bytes
    table: CycleTable
    log: str = ""


class ConversionCache:
    """A folder per conversion key. Entries appear whole, by renaming; several processes may share it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, key: ConversionKey) -> Conversion | None:
        """The stored conversion; None where there is none, or one that cannot be read.

        Raises:
            ConversionError: this conversion is known to fail.
        """
        entry = self._entry(key)
        try:
            if (entry / _FAILURE).is_file():
                failure = json.loads((entry / _FAILURE).read_text())
                raise ConversionError(ConversionFailure(failure["failure"]), f"{failure['message']} (tried before)")
            table = CycleTable.from_json((entry / _TABLE).read_text())
            log = (entry / _LOG).read_text() if (entry / _LOG).is_file() else ""
            return Conversion(key, (entry / _MODEL).read_bytes(), table, log)
        except ConversionError:
            raise
        except (OSError, ValueError, KeyError, ExportError):
            return None

    def put(self, conversion: Conversion) -> None:
        """Store a conversion; an entry that exists stays."""
        files = {
            _MODEL: conversion.model,
            _TABLE: conversion.table.to_json().encode(),
            _LOG: conversion.log.encode(),
        }
        self._write(conversion.key, files)

    def put_failure(self, key: ConversionKey, error: ConversionError) -> None:
        """Store a failure that would repeat itself; others are not stored."""
        if error.failure.is_final:
            document = canonical_json({"failure": error.failure.value, "message": str(error)})
            self._write(key, {_FAILURE: document.encode()})

    def _entry(self, key: ConversionKey) -> Path:
        return self._folder / key.sha256[:2] / key.sha256

    def _write(self, key: ConversionKey, files: Mapping[str, bytes]) -> None:
        entry = self._entry(key)
        entry.parent.mkdir(exist_ok=True)
        try:
            with scratch_folder(".new-", self._folder) as scratch:
                for name, data in {**files, _KEY: canonical_json(key.document()).encode()}.items():
                    with (scratch / name).open("wb") as file:
                        file.write(data)
                        file.flush()
                        os.fsync(file.fileno())
                if entry.exists() and not (entry / _KEY).is_file():
                    shutil.rmtree(entry)  # left half-made by a damaged disk: never read, so replaced
                os.rename(scratch, entry)
        except FileExistsError:
            pass  # somebody else converted the same model meanwhile
        except OSError as error:
            if not entry.exists():
                raise ExportError(f"cannot store a conversion in {self._folder}: {error.strerror}") from error
