"""Adds the web pages to the application: pages, fragments of pages, static files."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from server.core.http.openapi import add_routes
from server.web import pages, session
from server.web.rendering import STATIC, problem_page


def install_web(app: FastAPI) -> None:
    """Serve the pages beside the API, on its use cases and with its rights."""
    add_routes(app, (session.router, pages.router))
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.state.problem_renderer = problem_page
