"""The broken variants that the tests must notice are variants of the code as it is."""

from __future__ import annotations

import pytest
from mutations import ROOT, VARIANTS, Variant


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_a_variant_is_applicable(variant: Variant) -> None:
    """The text that a variant changes is in the code exactly once, and the variant does change it."""
    assert (ROOT / variant.file).read_text(encoding="utf-8").count(variant.old) == 1
    assert variant.old != variant.new
