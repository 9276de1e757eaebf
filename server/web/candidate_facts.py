"""What the page of a candidate says of it first: each metric's value, and how far to trust what was measured."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from nas_engine.domain.metric import MetricDeclaration
from nas_engine.domain.metrics import DEVICE_TOP1, LATENCY_US, declarations
from nas_engine.domain.uncertainty import value_text
from server.searches.candidate_schemas import CandidateResource

UNKNOWN = "–"


@dataclass(frozen=True, slots=True)
class Fact:
    """A line of the page.

    Attributes:
        title: what the label means; empty where nothing more is known.
    """

    label: str
    text: str
    title: str = ""


def candidate_facts(candidate: CandidateResource, wanted: Collection[str]) -> Iterator[Fact]:
    """Say the value of every metric that is known of a candidate, as the metrics are declared.

    Args:
        candidate: as REST gives it.
        wanted: names of the metrics that its search looks at: they have a line before they are known, as has what is
            reported at the end.
    """
    known = {one.name: one for one in candidate.values}
    for declared in declarations():
        value = known.pop(declared.name, None)
        if (of_measured := _MEASURED.get(declared.name)) is not None:
            yield from of_measured(candidate)
        elif value is None:
            if declared.name in wanted or not declared.searched:
                yield _fact(declared, UNKNOWN)
        elif declared.is_cheap:
            yield _fact(declared, value_text(value.value, value.unit))
        else:
            yield _fact(declared, value.text)
    for value in known.values():  # declared by the search itself, or of packages that are no longer installed
        yield Fact(value.name, value.text)
    registered = {declared.name for declared in declarations()}
    yield from (Fact(name, UNKNOWN) for name in wanted if name not in registered and name not in known)


def _fact(declared: MetricDeclaration, text: str) -> Fact:
    return Fact(declared.label, text, declared.title)


def _of_device(candidate: CandidateResource) -> Iterator[Fact]:
    found = candidate.device_accuracy
    if found is None:
        return
    yield Fact(
        f"top-1, test images, {found.kind} on {found.device_class} device",
        f"{found.text} ({found.dtype}, {found.num_images} images)",
    )
    if found.loss is not None:
        agreement = f"{value_text(found.agreement, 'fraction')} of the answers agree"
        yield Fact("loss against float, same images", f"{found.loss_text}; {agreement}")


def _of_latency(candidate: CandidateResource) -> Iterator[Fact]:
    found = candidate.latency
    if found is None:
        return
    yield Fact(f"{found.kind} latency, p50", found.text)
    if found.device_class is None:
        yield Fact("from", "a table of results")
    else:
        yield Fact("on", f"{found.device_class} device")
    yield Fact("validity", ", ".join(found.flags) or "valid")


_MEASURED: dict[str, Callable[[CandidateResource], Iterator[Fact]]] = {
    DEVICE_TOP1.name: _of_device,
    LATENCY_US.name: _of_latency,
}
"""What devices measure comes with its circumstances. Packages bring none of it: agents measure what the wire has."""
