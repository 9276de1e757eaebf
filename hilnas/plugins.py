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
from nas_engine.domain.metric import Goal, MetricDeclaration, MetricSource

__all__ = [
    "AlgorithmDeclaration",
    "DatasetDeclaration",
    "Goal",
    "ImageArrays",
    "MetricDeclaration",
    "MetricSource",
    "PluginError",
    "RuntimeDeclaration",
    "SpaceDeclaration",
    "WantedImages",
]
