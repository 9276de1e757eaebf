"""What a search waits for, by the names that its spec gives its boards."""

from __future__ import annotations

from server.candidates.boards import OWN_DEVICE
from server.candidates.search import Search
from server.jobs.dispatch import Dispatch
from server.jobs.job import Job


def search_waits_for(dispatch: Dispatch, search: Search) -> str:
    """In words, what stands in the way of a search; of one with several boards, board by board."""
    return dispatch.search_waits_for(search.id, lambda job: _board_of(search, job))


def _board_of(search: Search, job: Job) -> str:
    """What the board of a device's job is called in the search's spec; empty where that has one device alone."""
    if not search.spec.boards:
        return ""
    needed = {board.name for board in search.spec.needed_boards()}
    for board in search.spec.all_boards():
        is_same = search.hardware_key_on(board) == job.hardware_key
        if is_same and board.device.device_type == job.target.device_type:
            aside = "" if board.name in needed else " (the search goes on without it)"
            return f"board {board.name}{aside}"
    return f"board {OWN_DEVICE}"
