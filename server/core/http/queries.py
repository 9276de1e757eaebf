"""Query parameters that every listing takes."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from server.core.paging import MAX_PAGE_SIZE

DEFAULT_PAGE_SIZE = 50

Text = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]


LabelText = Annotated[
    str, Field(max_length=300, pattern=r"^[^:\x00-\x1f\x7f]+:[^\x00-\x1f\x7f]*$", examples=["team:vision"])
]


class ListQuery(BaseModel):
    """Paging, the same for every listing."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    page_size: int = Field(default=DEFAULT_PAGE_SIZE, ge=1, le=MAX_PAGE_SIZE)
    """Items on a page."""

    page_token: Annotated[str, Field(max_length=2000)] | None = None
    """`next_page_token` of the page before, with the same filters."""


class CountedQuery(ListQuery):
    """Paging for listings that can be counted."""

    include_total: bool = False
    """Also count the whole listing; costs time on long ones."""
