"""Commands as tests run them: in this process, by their first words."""

from __future__ import annotations

from collections.abc import Sequence

from hilnas.cli.main import main as hilnas


class Command:
    """``hilnas WORDS ...``."""

    def __init__(self, *words: str) -> None:
        self._words = words

    def main(self, argv: Sequence[str]) -> int:
        """Run it with what follows the words; returns the exit status."""
        return hilnas([*self._words, *argv])


artifacts = Command("artifacts")
datasets = Command("datasets")
devices = Command("devices")
images = Command("images")
jobs = Command("jobs")
measure = Command("measurements", "create")
measurements = Command("measurements")
networks = Command("networks")
ranking = Command("ranking")
retrain = Command("candidates", "retrain")
search = Command("search")
spaces = Command("spaces")
supernets = Command("supernets")
tables = Command("tables")
tokens = Command("tokens")
train = Command("supernets", "train")
workers = Command("workers")
