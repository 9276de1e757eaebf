"""The API process as a program: settings, one process or several, exit statuses."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from pydantic import ValidationError

from server.bootstrap.logs import configure_logging
from server.bootstrap.serving.process import run, status_of
from server.bootstrap.serving.processes import run_processes
from server.bootstrap.settings import Settings


def main(overrides: Mapping[str, object]) -> int:
    """Run until SIGTERM or SIGINT; `overrides` are settings that win over the environment."""
    try:
        settings = Settings.load(dict(overrides))
    except ValidationError as error:
        for one in error.errors():
            place = ".".join(map(str, one["loc"]))
            sys.stderr.write(
                f"hilnas server: {place + ': ' if place else ''}{one['msg'].removeprefix('Value error, ')}\n"
            )
        return 2
    configure_logging(settings.log_level, as_json=settings.log_json)
    return status_of(lambda: (run if settings.api_processes == 1 else run_processes)(settings))
