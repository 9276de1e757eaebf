"""Pages: templates, how values are written for people, and the headers that keep pages harmless."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from nas_engine.domain.measurement import LatencyStats
from nas_engine.domain.metric import Metric
from nas_engine.domain.metrics import column_for
from nas_engine.domain.uncertainty import Interval, number_text, shown_in, unit_text
from server.access.auth import SESSION_COOKIE
from server.core.http.problem_types import UNAUTHENTICATED
from server.core.http.problems import Problem
from server.core.http.provide import ApiSettings, path_as_sent, provided_of
from server.searches.candidate_schemas import MetricValueResource

_FOLDER = Path(__file__).parent
STATIC = _FOLDER / "static"
# Scripts and styles from this server only; nothing inline, nothing evaluated, nothing framed.
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def page(request: Request, template: str, values: Mapping[str, object], *, status: int = 200) -> Response:
    """Render a template as a page, or as a fragment of one."""
    settings = provided_of(request).get(ApiSettings)
    html = _templates.get_template(template).render(
        path=request.url.path,
        query=request.url.query,
        server_url=str(request.base_url).rstrip("/"),
        version=settings.version,
        signed_in=settings.auth_required and SESSION_COOKIE in request.cookies,
        **values,
    )
    return Response(html, status_code=status, media_type="text/html", headers=SECURITY_HEADERS)


def problem_page(request: Request, problem: Problem) -> Response | None:
    """A problem as a page, where a browser asked for one; who is not signed in is sent to do so."""
    wants_page = "text/html" in request.headers.get("accept", "") or "hx-request" in request.headers
    if not wants_page or request.url.path.startswith("/api/"):
        return None
    if problem.type is UNAUTHENTICATED:
        target = f"/login?next={quote(path_as_sent(request), safe='/')}"
        if "hx-request" in request.headers:
            return Response(status_code=401, headers={"HX-Redirect": target})
        return RedirectResponse(target, status_code=303)
    return page(request, "problem.html", {"problem": problem}, status=int(problem.type.status))


def number(value: float | None) -> str:
    """Write a number of which no interval is known; a dash where there is none."""
    return "–" if value is None else number_text(Interval(value))


def _median(stats: LatencyStats) -> str:
    return number_text(Interval(stats.p50_us, stats.ci95_low_us, stats.ci95_high_us))


def _interval(known: MetricValueResource) -> str:
    """A value with its 95 % interval, in the unit of its column."""
    return number_text(shown_in(known.interval, known.unit))


def _heading(metric: Metric) -> tuple[str, str]:
    """Name and label of a metric's column: the unit stands in brackets, not in the name too."""
    symbol = unit_text(metric.unit).replace("us", "µs")
    return metric.name, f"{column_for(metric)} [{symbol}]" if symbol else column_for(metric)


def _items_by(values: Iterable[Any], attribute: str) -> dict[str, Any]:
    return {getattr(one, attribute): one for one in values}


def _time(value: datetime | None) -> str:
    return "–" if value is None else value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _short(value: str | None) -> str:
    return "–" if value is None else value[:12]


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    numbers = {"number": number, "interval": _interval, "median": _median}
    environment.filters.update(numbers, time=_time, short=_short, heading=_heading, items_by=_items_by)
    return environment


_templates = _environment()
