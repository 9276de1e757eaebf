"""Layout of a folder of images: which of its folders are parts and classes, which files are images, what is left out.

Read are ``train/<class>/*`` with ``val/`` and ``test/`` beside it (in any capitals), classes right under the root, and
Tiny-ImageNet's layout: ``train/<class>/images/*``, and ``val/val_annotations.txt`` with a line for each image of
``val/images/``.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nas_engine.training.data.dataset import Labels
from nas_engine.training.data.files import require_folder
from nas_engine.training.data.problems import Problems

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff"})
PARTS = {"train": ("train", "training"), "validation": ("val", "validation", "valid"), "test": ("test", "testing")}
"""Names of the parts' folders, in any case and with or without ``_set`` behind them."""
WHOLE = "whole"
"""The part of classes that lie right under the root."""
IMAGES_FOLDER = "images"
ANNOTATIONS_SUFFIX = "_annotations.txt"
MAX_PLACES = 5  # folders or suffixes that one line names
_LEFT_BY_SYSTEMS = frozenset({"thumbs.db", "desktop.ini"})


@dataclass(frozen=True, slots=True, eq=False)
class ListedFiles:
    """Image files of one part with their classes.

    Attributes:
        labels: (N,) class indices.
    """

    paths: tuple[Path, ...]
    labels: Labels


@dataclass(frozen=True, slots=True, eq=False)
class FolderLayout:
    """Where the images of a folder are.

    Attributes:
        classes: class names by index.
        parts: by the names of `PARTS`, training images first; or `WHOLE` alone.
        notices: what is not read, counted, and where it lies.
    """

    classes: tuple[str, ...]
    parts: Mapping[str, ListedFiles]
    notices: tuple[str, ...]


def read_layout(root: Path, problems: Problems) -> FolderLayout:
    """List the images of a folder; what is wrong with it goes to `problems`.

    Raises:
        DatasetError: it is no folder, or too little of it makes sense to go on.
    """
    require_folder(root)
    left_out = _LeftOut(root)
    folders = _part_folders(root, left_out)
    if "train" not in folders:
        classes = _classes(root, root, problems)
        listed = {WHOLE: _class_files(root, root, classes, problems, left_out)}
        return FolderLayout(classes, _with_images(listed, problems), left_out.notices())
    classes = _classes(root, folders["train"], problems)
    unlabelled = "test" in folders and _is_unlabelled(folders["test"], classes)
    if unlabelled:
        left_out.unlabelled(folders.pop("test"))
    if "test" not in folders and "validation" in folders:
        folders["test"] = folders.pop("validation")
    if "test" not in folders:
        has = "has train/ but neither test/ nor val/"
        if unlabelled:
            has = "has a test/ whose images have no labels and no val/"
        problems.add(f"it {has}: a report needs images that nothing else saw")
    listed = {}
    for part, folder in folders.items():
        annotations = _annotations(folder, classes)
        if annotations is None:
            listed[part] = _class_files(root, folder, classes, problems, left_out)
        else:
            listed[part] = _annotated_files(root, annotations, classes, problems, left_out)
    return FolderLayout(classes, _with_images(listed, problems), left_out.notices())


def _with_images(listed: Mapping[str, ListedFiles], problems: Problems) -> Mapping[str, ListedFiles]:
    """The parts that hold images; refuse a folder where training images are missing altogether."""
    found = {part: files for part, files in listed.items() if files.paths}
    if not found or ("train" in listed and "train" not in found):
        problems.refuse()
    return found


def _part_folders(root: Path, left_out: _LeftOut) -> dict[str, Path]:
    found: dict[str, Path] = {}
    folders = _folders(root)
    for part, names in PARTS.items():
        candidates = [folder for name in names for folder in folders if _part_name(folder) == name]
        candidates.sort(key=lambda folder: (names.index(_part_name(folder)), folder.name not in names))
        if candidates:
            found[part] = candidates[0]
    if "train" in found:
        known = {name for names in PARTS.values() for name in names}
        for folder in folders:
            if _part_name(folder) in known and folder not in found.values():
                left_out.twins.append(folder.name)
    return found


def _part_name(folder: Path) -> str:
    return folder.name.lower().replace("-", "_").removesuffix("_set")


def _classes(root: Path, folder: Path, problems: Problems) -> tuple[str, ...]:
    folders = _folders(folder)
    if len(folders) < 2:
        where = _place(root, folder)
        found = f"{len(folders)} class folder{'' if len(folders) == 1 else 's'}"
        message = f"{where} holds {found}, two or more are needed: put each class's images in a folder of its own"
        if len(folders) == 1 and any(_part_name(inner) in PARTS["train"] for inner in _folders(folders[0])):
            message = f"{where} holds one folder, {folders[0].name}, and that holds train/: give that one"
        problems.add(message)
        problems.refuse()
    return tuple(folder.name for folder in folders)


def _is_unlabelled(folder: Path, classes: tuple[str, ...]) -> bool:
    """Whether a part has images, but neither classes nor annotations, as Tiny-ImageNet's test images come."""
    names = {inner.name for inner in _folders(folder)}
    if names & set(classes) or _annotations(folder, classes) is not None:
        return False
    return {name.lower() for name in names} == {IMAGES_FOLDER} or (not names and any(_images(folder)))


def _annotations(folder: Path, classes: tuple[str, ...]) -> Path | None:
    """The file that gives the classes of a part's images; None where they lie in folders of their classes."""
    if {inner.name for inner in _folders(folder)} & set(classes):
        return None
    return next(
        (Path(e.path) for e in _entries(folder) if e.is_file() and e.name.lower().endswith(ANNOTATIONS_SUFFIX)), None
    )


def _class_files(
    root: Path, folder: Path, classes: tuple[str, ...], problems: Problems, left_out: _LeftOut
) -> ListedFiles:
    names = [inner.name for inner in _folders(folder)]
    unknown = sorted(set(names) - set(classes))
    if len(unknown) == len(names):
        problems.add(
            f"{_place(root, folder)} has folders of none of the {len(classes)} training classes and no "
            f"*{ANNOTATIONS_SUFFIX} that gives the classes of its images: {unknown[:MAX_PLACES]}"
        )
        return ListedFiles((), np.zeros(0, dtype=np.int64))
    if unknown:
        more = f" and {len(unknown) - MAX_PLACES} more" if len(unknown) > MAX_PLACES else ""
        problems.add(
            f"{_place(root, folder)} has the classes {unknown[:MAX_PLACES]}{more}, "
            "which are not among the training classes: make the class folders of all parts the same"
        )
    left_out.loose(folder)
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        before = left_out.copy()
        found = _files_of_class(folder / name, left_out)
        if not found:
            here = left_out.since(before)
            known = " ".join(sorted(EXTENSIONS))
            inside = f" (but {here})" if here else f" ({known})"
            problems.add(f"{_place(root, folder / name)} holds no image{inside}: every class needs some in every part")
        paths += found
        labels += [label] * len(found)
    return ListedFiles(tuple(paths), np.asarray(labels, dtype=np.int64))


def _files_of_class(folder: Path, left_out: _LeftOut) -> list[Path]:
    """Images of a class: in its folder, and in a folder `images` in that."""
    found = sorted(_images(folder, left_out)) if folder.is_dir() else []
    for inner in _folders(folder) if folder.is_dir() else ():
        if inner.name.lower() == IMAGES_FOLDER:
            found += sorted(_images(inner, left_out))
            for deeper in _folders(inner):
                left_out.nested(deeper)
        else:
            left_out.nested(inner)
    return found


def _annotated_files(
    root: Path, annotations: Path, classes: tuple[str, ...], problems: Problems, left_out: _LeftOut
) -> ListedFiles:
    """Images whose classes stand in a file: a name and a class on each line, then what is not needed (a box)."""
    place = _place(root, annotations)
    folders = [annotations.parent, *(f for f in _folders(annotations.parent) if f.name.lower() == IMAGES_FOLDER)]
    by_name = {path.name: path for folder in folders for path in _images(folder, left_out, but=annotations)}
    numbers = {name: label for label, name in enumerate(classes)}
    labelled: dict[str, int] = {}
    text = annotations.read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split("\t") if "\t" in line else line.split()
        if not words:
            continue
        if len(words) < 2:
            problems.add(f"{place} line {number} is {line[:40]!r}: it must begin with a file's name and its class")
        elif words[0] not in by_name:
            problems.add(f"{place} line {number} names {words[0]!r}, which is not there")
        elif words[1] not in numbers:
            problems.add(f"{place} line {number} has class {words[1]!r}, which is not among the training classes")
        elif labelled.setdefault(words[0], numbers[words[1]]) != numbers[words[1]]:
            problems.add(f"{place} line {number} gives {words[0]!r} another class than a line before")
    left_out.without_line(place, sorted(by_name.keys() - labelled.keys()))
    names = sorted(labelled, key=lambda name: (labelled[name], name))
    labels = np.asarray([labelled[name] for name in names], dtype=np.int64)
    return ListedFiles(tuple(by_name[name] for name in names), labels)


@dataclass(slots=True)
class _LeftOut:
    """What of a folder is not read: images in nested folders, files of other suffixes, whole folders."""

    root: Path
    folders: Counter[str] = field(default_factory=Counter)
    suffixes: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)
    twins: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def nested(self, folder: Path) -> None:
        """Count the images below a folder that is not read."""
        for place, _, names in os.walk(folder):
            count = sum(_is_image(name) for name in names)
            if count:
                self.folders[_place(self.root, Path(place))] += count

    def unread(self, path: Path) -> None:
        """Count a file that is no image by its suffix."""
        suffix = path.suffix.lower() or "without a suffix"
        self.suffixes[suffix] += 1
        self.first.setdefault(suffix, _place(self.root, path))

    def loose(self, folder: Path) -> None:
        """Count images that lie beside the class folders."""
        count = sum(1 for _ in _images(folder))
        if count:
            where = _place(self.root, folder)
            self.others.append(f"{_count(count, 'image')} in {where} itself, beside the class folders")

    def unlabelled(self, folder: Path) -> None:
        """Say that a whole part is left out."""
        count = sum(_is_image(name) for _, _, names in os.walk(folder) for name in names)
        where = _place(self.root, folder)
        self.others.append(f"{_count(count, 'image')} without labels in {where}")

    def without_line(self, annotations: str, names: list[str]) -> None:
        """Say which images no line of an annotations file names."""
        if names:
            shown = ", ".join(names[:MAX_PLACES])
            self.others.append(f"{_count(len(names), 'image')} without a line in {annotations}: {shown}")

    def copy(self) -> _LeftOut:
        """What was counted so far."""
        return _LeftOut(self.root, Counter(self.folders), Counter(self.suffixes), dict(self.first))

    def since(self, before: _LeftOut) -> str:
        """Say what was counted since then; empty where nothing was."""
        later = _LeftOut(self.root, self.folders - before.folders, self.suffixes - before.suffixes, self.first)
        return "; ".join(later.counted())

    def counted(self) -> Iterator[str]:
        """How many nested images and files of other suffixes there are, and where."""
        if self.folders:
            more = f" and {len(self.folders) - MAX_PLACES} more" if len(self.folders) > MAX_PLACES else ""
            places = ", ".join(f"{place} ({count})" for place, count in self.folders.most_common(MAX_PLACES))
            yield (
                f"{_count(sum(self.folders.values()), 'image')} in {_count(len(self.folders), 'nested folder')}: "
                f"{places}{more}"
            )
        if self.suffixes:
            more = f" and {len(self.suffixes) - MAX_PLACES} more" if len(self.suffixes) > MAX_PLACES else ""
            kinds = ", ".join(
                f"{count} {suffix} (first {self.first[suffix]})"
                for suffix, count in self.suffixes.most_common(MAX_PLACES)
            )
            yield f"{_count(sum(self.suffixes.values()), 'file')} of other suffixes: {kinds}{more}"

    def notices(self) -> tuple[str, ...]:
        """One line for each sort of thing."""
        lines = list(self.counted())
        if self.folders:
            lines[0] += "; move them up into the folders of their classes"
        if self.twins:
            lines.append(", ".join(f"{name}/" for name in self.twins) + ", beside a folder of the same meaning")
        return tuple(f"not read: {line}" for line in (*lines, *self.others))


def _images(folder: Path, left_out: _LeftOut | None = None, but: Path | None = None) -> Iterator[Path]:
    """Image files right in a folder; the others are counted in `left_out`."""
    for entry in _entries(folder):
        if not entry.is_file():
            continue
        if _is_image(entry.name):
            yield Path(entry.path)
        elif left_out is not None and entry.name.lower() not in _LEFT_BY_SYSTEMS and Path(entry.path) != but:
            left_out.unread(Path(entry.path))


def _is_image(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS


def _folders(folder: Path) -> list[Path]:
    return sorted(Path(entry.path) for entry in _entries(folder) if entry.is_dir())


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, by name, but for hidden things."""
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _place(root: Path, path: Path) -> str:
    """A path within the data set, for people."""
    return "the folder" if path == root else path.relative_to(root).as_posix()


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
