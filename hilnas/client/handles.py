"""What the SDK's answers can do themselves: be read again, be waited for, be cancelled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, PrivateAttr

from hilnas.client.core.calls import Carrier, ClientBound, M, call, listing, stream
from hilnas.client.core.group import Group
from hilnas.client.core.paths import path_of
from hilnas.client.core.steps import Call
from hilnas.client.views.html import panel_of
from hilnas.client.waiting import until_ended


class Handle(BaseModel, ClientBound[M]):
    """Something that ends, as it was when it was read; its methods ask the server anew.

    A class of handles names the collection that it lies in, what it is called, and the final state that is a success.
    """

    model_config = ConfigDict(ignored_types=(call, listing, stream))

    COLLECTION: ClassVar[str]
    NOUN: ClassVar[str]
    SUCCESS: ClassVar[object]

    id: str
    if TYPE_CHECKING:
        state: Any  # an enum of the resource's own, which says which of its members are final

    _carrier: Carrier = PrivateAttr()

    @call
    def refresh(self) -> Call[Self]:
        """Read it again."""
        return self._read()

    @call
    def wait(self, timeout_s: float | None = None, *, poll_s: float = 2.0, check: bool = True) -> Call[Self]:
        """Wait until it is over; returns it as it is then.

        Args:
            timeout_s: longest wait; None waits as long as it takes.
            poll_s: seconds between two looks.
            check: raise where it failed or was cancelled.

        Raises:
            WaitTimeoutError: it is not over yet; it goes on.
            UnsuccessfulError: it failed or was cancelled.
        """
        return until_ended(
            self._read,
            what=f"{self.NOUN} {self._called}",
            succeeded=self.SUCCESS if check else None,
            timeout_s=timeout_s,
            poll_s=poll_s,
        )

    @call
    def cancel(self) -> Call[Self]:
        """End it; it cannot be resumed, and what is done stays."""
        return self._act("cancel")

    def _repr_html_(self) -> str:
        """How it stands."""
        return panel_of(self, f"{self.NOUN.capitalize()} {self._called}")

    @property
    def _called(self) -> str:
        """What people call it: its name, else its id."""
        return getattr(self, "name", "") or getattr(self, "short_id", "") or self.id

    @property
    def _place(self) -> tuple[str, ...]:
        """Parts of its path."""
        return (self.COLLECTION, self.id)

    def _read(self) -> Call[Self]:
        group = Group[M](self._carrier)
        return group.read(type(self), (yield from group._http.get(path_of(*self._place))))

    def _act(self, verb: str) -> Call[Self]:
        group = Group[M](self._carrier)
        return group.read(type(self), (yield from group._http.post(path_of(*self._place, verb=verb))))
