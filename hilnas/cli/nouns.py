"""What ``hilnas`` can be about, and the old spellings it still takes: tables, of the standard library alone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Noun:
    """The first word of a command.

    Attributes:
        module: has the typer group ``app`` with its verbs.
        extra: the extra of this package that brings what all of them need.
        help: one line.
    """

    module: str
    extra: str
    help: str


AGENT = "agent"
"""The one noun without typer: a board holds the extra ``agent`` alone."""

NOUNS = {
    "server": Noun("hilnas.cli.commands.server", "server", "Run the API and the agents' endpoint; ask for its state."),
    "worker": Noun("hilnas.cli.commands.worker", "server,engine", "Run the process that searches and trains."),
    AGENT: Noun("device_agent.cli", "agent", "Run on a board: dial in, measure, report."),
    "demo": Noun("hilnas.cli.commands.demo", "demo", "Run the whole product on this machine."),
    "search": Noun("hilnas.cli.commands.search", "client", "Create, follow, steer and read searches."),
    "candidates": Noun(
        "hilnas.cli.commands.candidates", "client", "Fetch what a search found; retrain it; explain its latency."
    ),
    "supernets": Noun(
        "hilnas.cli.commands.supernets", "client,engine", "Train supernets or import them; list, follow, cancel them."
    ),
    "networks": Noun("hilnas.cli.commands.networks", "client", "Train single networks; fetch their model files."),
    "ranking": Noun("hilnas.cli.commands.ranking", "client", "Compare a supernet's order with stand-alone training."),
    "devices": Noun("hilnas.cli.commands.devices", "client", "List boards; drain, resume, reserve, share them."),
    "workers": Noun("hilnas.cli.commands.workers", "client", "List workers: whether they live, what they do."),
    "jobs": Noun("hilnas.cli.commands.jobs", "client", "List, follow and cancel the work of workers and boards."),
    "trials": Noun("hilnas.cli.commands.trials", "client", "Evaluate candidates outside: ask for trials, tell them."),
    "measurements": Noun(
        "hilnas.cli.commands.measurements", "client", "Measure a model of your own; query what was measured."
    ),
    "latencies": Noun(
        "hilnas.cli.commands.latencies",
        "client",
        "Ask for latencies without a board; list hardware keys.",
    ),
    "classifications": Noun(
        "hilnas.cli.commands.classifications", "client", "Query what models answered to images on boards."
    ),
    "tables": Noun("hilnas.cli.commands.tables", "client", "Measure a space's operators; report how they add up."),
    "spaces": Noun("hilnas.cli.commands.spaces", "client,engine", "List, show, decode and sample search spaces."),
    "presets": Noun("hilnas.cli.commands.presets", "client", "List and show the recipes of searches and trainings."),
    "datasets": Noun("hilnas.cli.commands.datasets", "client,engine", "List a server's data sets; check one here."),
    "images": Noun("hilnas.cli.commands.images", "client,engine", "Pack labelled images that boards classify."),
    "models": Noun("hilnas.cli.commands.models", "client,engine", "Convert one ONNX file for RKNN boards."),
    "bundles": Noun("hilnas.cli.commands.bundles", "client", "Fetch evidence bundles; check them; measure again."),
    "plugins": Noun("hilnas.cli.commands.plugins", "client", "List what packages bring, and what may be set."),
    "artifacts": Noun("hilnas.cli.commands.artifacts", "client", "List, fetch, store and check the stored files."),
    "db": Noun("hilnas.cli.commands.db", "server", "Check the server's database."),
    "tokens": Noun("hilnas.cli.commands.tokens", "client", "Make, list and revoke access tokens."),
    "changes": Noun("hilnas.cli.commands.changes", "client", "List who did what: every change, with its actor."),
    "certs": Noun("hilnas.cli.commands.certs", "server", "Make certificates for the agents' endpoint."),
    "version": Noun("hilnas.cli.commands.version", "client", "Print the version installed here."),
}

OLD_SPELLINGS = {
    "train": ("supernets", "train"),
    "retrain": ("candidates", "retrain"),
    "measure": ("measurements", "create"),
    "verify": ("bundles", "verify"),
    "convert": ("models", "convert"),
}
"""Commands of the first release and what they are now; taken permanently, and not listed by --help."""
