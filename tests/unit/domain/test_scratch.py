"""Folders for temporary files: what killed owners leave is cleared, what somebody uses is not."""

from __future__ import annotations

import os
from pathlib import Path

from nas_engine.domain.host.scratch import scratch_folder


def _age(folder: Path) -> None:
    os.utime(folder, (1.0, 1.0))


def test_a_folder_is_removed_with_what_is_in_it(tmp_path: Path) -> None:
    with scratch_folder("kind-", tmp_path) as folder:
        (folder / "file").write_text("x")
        assert list(tmp_path.iterdir()) == [folder]
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_owner_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    abandoned, fresh, other = tmp_path / "kind-dead", tmp_path / "kind-just-made", tmp_path / "another-dead"
    for folder in (abandoned, fresh, other):
        folder.mkdir()
        (folder / "file").write_text("x")
    _age(abandoned)
    _age(other)
    with scratch_folder("kind-", tmp_path):
        assert not abandoned.exists()
        assert fresh.exists()
        assert other.exists()


def test_a_folder_in_use_stays_however_old_it_is(tmp_path: Path) -> None:
    with scratch_folder("kind-", tmp_path) as held:
        _age(held)
        with scratch_folder("kind-", tmp_path) as second:
            assert held.exists()
            assert second.exists()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "kept"
    target.mkdir()
    _age(target)
    (tmp_path / "kind-link").symlink_to(target)
    with scratch_folder("kind-", tmp_path):
        assert target.exists()
