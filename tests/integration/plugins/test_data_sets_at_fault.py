"""Data sets that packages bring: what raises, hangs or gives what are no images is named, and fails alone."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nas_engine.domain.errors import DatasetError
from nas_engine.domain.plugins.declarations import DatasetDeclaration, ImageArrays, WantedImages
from nas_engine.domain.plugins.doors import Brought, PluginError
from nas_engine.training.data import source
from server.spaces.catalog import SpaceCatalog
from server.spaces.datasets import DatasetCatalog, RegisteredDataset
from server.spaces.worker import WorkerResources
from tests.integration.plugins.test_brought_by_packages import WHO, always, raises
from tests.support.packages import find_packages, forget, lay_out
from tests.support.paths import ROOT

IMAGES, LABELS = np.zeros((4, 8, 8, 1), np.uint8), np.array([0, 1, 1, 0])


@pytest.mark.parametrize(
    ("gives", "reason"),
    [
        (raises, "raised RuntimeError: broken inside"),
        (always([1, 2]), "it gave a list"),
        (
            always(
                ImageArrays(np.full((4, 8, 8, 1), np.nan), np.zeros(4), np.zeros((2, 8, 8, 1)), np.zeros(2), ("a",))
            ),
            "its images cannot be used: y_train is float64: labels are integers",
        ),
        (always(ImageArrays(*(np.full((4, 8, 8, 1), np.nan), LABELS) * 2, ("a", "b"))), "images are float64"),
        (always(ImageArrays(*(np.zeros((4, 8, 8), np.uint8), LABELS) * 2, ("a", "b"))), "must be uint8 .N, H, W"),
        (always(ImageArrays(*(IMAGES, LABELS + 0.5) * 2, ("a", "b"))), "y_train is float64: labels are integers"),
        (always(ImageArrays(*(IMAGES, LABELS[:3]) * 2, ("a", "b"))), "4 images have labels of shape"),
        (always(ImageArrays(IMAGES, LABELS, [1], [0], ("a", "b"))), "x_test is a list: it must be a numpy array"),
        (always(ImageArrays(*(IMAGES, LABELS) * 2, ("a", 2))), "must be the names of the classes"),
        (always(ImageArrays(*(IMAGES, LABELS) * 2, ("a", "b", "c"))), "no training image is of class 2"),
        (
            always(ImageArrays(*(np.zeros((4, 8, 8, 1), np.uint8), np.array([0, 1, 9, 0])) * 2, ("a", "b"))),
            "labels run from 0 to 9, there are 2 classes",
        ),
    ],
)
def test_a_data_set_at_fault_is_named(gives: Any, reason: str) -> None:
    declaration = DatasetDeclaration(name="theirs", title="", implementation="a:b")
    with pytest.raises(PluginError, match=rf"theirs of their-package 4\.2: .*{reason}"):
        source.brought_dataset(Brought(declaration, WHO), gives, None, WantedImages(name="theirs"))


def test_a_data_set_that_never_answers_is_named_and_not_waited_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "LOADING_TIMEOUT_S", 0.2)
    found = Brought(DatasetDeclaration(name="stuck", title="", implementation="a:b"), WHO)
    over = threading.Event()
    asked: list[object] = []

    def stuck(settings: object, wanted: object) -> None:
        asked.append(wanted)
        over.wait(60)

    for reason in ("did not return within 0.2 s", "nothing more is asked of it"):
        with pytest.raises(PluginError, match=rf"stuck of their-package 4\.2: .*{reason}"):
            source.brought_dataset(found, stuck, None, WantedImages(name="stuck"))
    over.set()
    assert len(asked) == 1


def test_a_data_set_with_other_classes_than_are_declared_of_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = (ROOT / "docs" / "examples" / "dataset_shapes" / "hilnas_shapes.py").read_text()
    lay_out(tmp_path, "hilnas-shapes", "hilnas.datasets", "shapes", declared, attribute="SHAPES")
    find_packages(monkeypatch, tmp_path)
    registered = {"four": RegisteredDataset(kind="shapes", num_classes=4)}
    resources = WorkerResources(
        spaces=SpaceCatalog(),
        datasets=DatasetCatalog(registered),
        artifacts=None,  # type: ignore[arg-type]  # none is read
        folder=tmp_path / "worker",
        device=torch.device("cpu"),
    )
    with pytest.raises(DatasetError, match=r"'four' \(shapes of hilnas-shapes 1\.0\) has 3 classes, 4 are declared"):
        resources.images("four", 1, 12)
    assert resources.images("shapes", 1, 12).num_classes == 3
    forget()
