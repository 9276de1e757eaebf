"""Opening the database at start: brought up to date, and waited for where it is just starting itself."""

from __future__ import annotations

import time

import sqlalchemy as sa

from server.bootstrap.schema import migrate
from server.bootstrap.settings import Settings
from server.core.database.engine import open_engine

PATIENCE_S = 60.0
PAUSE_S = 0.5


def open_database(settings: Settings) -> sa.Engine:
    """The engine of the settings' database, at the newest schema.

    Raises:
        OSError: the home folder cannot be made, or the database stays away.
        sqlalchemy.exc.SQLAlchemyError: the database cannot be used.
    """
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    engine = open_engine(settings.effective_database_url)
    deadline = time.monotonic() + PATIENCE_S
    while True:  # ends at the deadline
        try:
            migrate(engine)
            return engine
        except sa.exc.OperationalError as error:
            if time.monotonic() > deadline:
                raise OSError(f"the database does not answer: {error.orig}") from error
            time.sleep(PAUSE_S)
