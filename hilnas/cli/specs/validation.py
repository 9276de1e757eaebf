"""What a spec would do, for people: `hilnas search create --validate`."""

from __future__ import annotations

from nas_engine.domain.uncertainty import Interval, number_text
from server.searches.schemas import ValidationReport


def validation_text(report: ValidationReport) -> str:
    """Everything that is wrong, or what the search would work with."""
    if not report.valid:
        lines = [f"{len(report.violations)} wrong:"]
        for violation in report.violations:
            lines.append(f"  {violation.pointer or '(the whole spec)'}: {violation.detail}")
        return "\n".join(lines)
    size = "-" if report.space_size is None else f"{report.space_size:,}"
    budget = report.spec.budget.num_candidates
    lines = [
        f"valid: {budget} candidates of {size} genotypes in {report.spec.space.id}",
        f"  devices that can measure for it now: {report.num_devices}",
    ]
    lines += [f"  warning: {warning}" for warning in report.warnings]
    lines += [
        f"  {r.metric}: {number_text(Interval(r.minimum))} to {number_text(Interval(r.maximum))}"
        for r in report.metric_ranges
    ]
    return "\n".join(lines)
