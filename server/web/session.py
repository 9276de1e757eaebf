"""Signing in and out: a token is exchanged for a session, whose cookie scripts cannot read."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from server.access.auth import SESSION_COOKIE, SessionsDep
from server.core.errors import NotAuthenticatedError, QuotaExceededError
from server.web.rendering import page

router = APIRouter(include_in_schema=False)


@router.get("/login")
def show_login(request: Request, next: Annotated[str, Query(max_length=2000)] = "/") -> Response:
    """Show the form that asks for a token."""
    return page(request, "login.html", {"next": _local(next), "error": ""})


@router.post("/login")
def sign_in(
    request: Request,
    sessions: SessionsDep,
    token: Annotated[str, Form(max_length=500)] = "",
    next: Annotated[str, Form(max_length=2000)] = "/",
) -> Response:
    """Check the token, start a session and set its cookie."""
    try:
        secret = sessions.start(token.strip())
    except NotAuthenticatedError as error:
        return page(request, "login.html", {"next": _local(next), "error": str(error)}, status=401)
    except QuotaExceededError as error:
        return page(request, "login.html", {"next": _local(next), "error": str(error)}, status=429)
    response = RedirectResponse(_local(next), status_code=303)
    response.set_cookie(
        SESSION_COOKIE,
        secret,
        max_age=round(sessions.settings.max_s),  # how long it lasts is the server's to say
        httponly=True,
        samesite="lax",  # a link from a chat may open a page; changes need a header that no other site can send
        secure=request.url.scheme == "https",  # also behind a proxy that the settings name
    )
    return response


@router.post("/logout")
def sign_out(request: Request, sessions: SessionsDep) -> Response:
    """End the session, delete its cookie and show the login form."""
    if (secret := request.cookies.get(SESSION_COOKIE)) is not None:
        sessions.end(secret)
    response = RedirectResponse("/login", status_code=303)
    response.delete_cookie(SESSION_COOKIE)
    return response


def _local(path: str) -> str:
    """`path`, if it stays on this server: a login link must not lead elsewhere."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) else "/"
