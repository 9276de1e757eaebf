"""What packages declare what they bring with, as names of `hilnas`; it needs the standard library alone."""

from __future__ import annotations

from nas_engine.domain.declarations import (
    AlgorithmDeclaration,
    DatasetDeclaration,
    ImageArrays,
    RuntimeDeclaration,
    SpaceDeclaration,
    WantedImages,
)
from nas_engine.domain.doors import PluginError

__all__ = [
    "AlgorithmDeclaration",
    "DatasetDeclaration",
    "ImageArrays",
    "PluginError",
    "RuntimeDeclaration",
    "SpaceDeclaration",
    "WantedImages",
]
