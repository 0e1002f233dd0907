"""The strict reader of Prometheus' text format, which the tests in a cluster use."""

from __future__ import annotations

import pytest
from prometheus_text import Series, parsed

GOOD = """# HELP a_total Text with "quotes" and \\\\.
# TYPE a_total counter
a_total{pipeline="p\\"1",status="Failed"} 1
a_total{} 2.5e+06 1700000000000

# TYPE h histogram
h_bucket{le="+Inf"} 1
h_sum 0.5
h_count 1
"""


def test_what_prometheus_takes() -> None:
    """Families with their types, series with their values."""
    types, values = parsed(GOOD)
    assert types == {"a_total": "counter", "h": "histogram"}
    assert values[Series("a_total", frozenset({("pipeline", 'p\\"1'), ("status", "Failed")}))] == 1
    assert len(values) == 5


@pytest.mark.parametrize(
    "text",
    [
        "a 1\n",
        "# TYPE a gauge\na 1",
        "# TYPE a gauge\na 1\na 2\n",
        "# TYPE a gauge\na one\n",
        "# TYPE a meter\n",
        "# TYPE a gauge\n# TYPE a gauge\n",
        '# TYPE a gauge\na{b="1" c="2"} 1\n',
        '# TYPE a gauge\na{b="1",b="2"} 1\n',
        '# TYPE a gauge\na{b="\n"} 1\n',
        '# TYPE a gauge\n# TYPE b gauge\na{} 1\nb 1\na{x="1"} 1\n',
        "# TYPE h histogram\nh 1\n",
        "# TYPE a-b gauge\na-b 1\n",
    ],
)
def test_what_prometheus_refuses(text: str) -> None:
    """Samples without a type, twice, torn apart, or with another form."""
    with pytest.raises(ValueError):  # noqa: PT011 - the format has many mistakes
        parsed(text)
