"""No byte of an evidence bundle can be changed, cut or added without it being refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.shipping.bundle.archive import BundleError
from tests.support.samples.bundles import BUNDLE, check


@settings(max_examples=400, deadline=None)
@given(at=st.integers(0, len(BUNDLE) - 1), mask=st.integers(1, 255))
def test_no_changed_byte_leaves_a_bundle_intact(at: int, mask: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    changed = bytearray(BUNDLE)
    changed[at] ^= mask
    with pytest.raises(BundleError):
        check(tmp_path_factory.getbasetemp(), bytes(changed))


@settings(max_examples=60, deadline=None)
@given(length=st.integers(0, len(BUNDLE) - 1), more=st.binary(max_size=40))
def test_no_cut_and_no_addition_leaves_it_intact(
    length: int, more: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for content in (BUNDLE[:length], BUNDLE[:length] + more + b"x" + BUNDLE[length:], b"x" + more + BUNDLE):
        with pytest.raises(BundleError):
            check(tmp_path_factory.getbasetemp(), content)
