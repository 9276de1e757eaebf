"""What packages declare what they bring with, as names of `hilnas`; it needs the standard library alone."""

from __future__ import annotations

from nas_engine.domain.metric import Goal, MetricDeclaration, MetricSource
from nas_engine.domain.plugins.declarations import (
    AlgorithmDeclaration,
    DatasetDeclaration,
    ImageArrays,
    RuntimeDeclaration,
    SearchedSpaces,
    SpaceDeclaration,
    WantedImages,
)
from nas_engine.domain.plugins.doors import PluginError

__all__ = [
    "AlgorithmDeclaration",
    "DatasetDeclaration",
    "Goal",
    "ImageArrays",
    "MetricDeclaration",
    "MetricSource",
    "PluginError",
    "RuntimeDeclaration",
    "SearchedSpaces",
    "SpaceDeclaration",
    "WantedImages",
]
