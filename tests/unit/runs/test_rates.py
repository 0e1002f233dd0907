"""A first look at the example's files."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cluster.runs.rates import BARS, DAYS, Table, latest, read, sparkline

rates = st.lists(st.floats(min_value=0, allow_infinity=False), min_size=1, max_size=40)


@given(rates)
def test_a_sparkline_shows_lowest_and_highest(values: list[float]) -> None:
    """There is a bar for each value; the lowest value has the lowest bar, the highest the highest, and none is out of order."""
    assume(min(values) < max(values))
    line = sparkline(values)
    assert len(line) == len(values)
    assert {line[index] for index, value in enumerate(values) if value == min(values)} == {"▁"}
    assert {line[index] for index, value in enumerate(values) if value == max(values)} == {"█"}
    heights = [BARS.index(bar) for _, bar in sorted(zip(values, line, strict=True))]
    assert heights == sorted(heights)


@given(st.floats(min_value=0, allow_infinity=False), st.integers(1, 40))
def test_a_course_without_change_is_a_flat_line(value: float, count: int) -> None:
    """Values that are all alike are bars that are all alike, neither lowest nor highest."""
    line = sparkline([value] * count)
    assert len(line) == count
    assert len(set(line)) == 1
    assert line[0] not in "▁█"


def csv(*lines: str) -> bytes:
    """Return a CSV file."""
    return ("\n".join(lines) + "\n").encode()


def test_the_last_file_wins() -> None:
    """A day that is in several files, or twice in one, is taken from the last; days are sorted in any case."""
    table = read(
        [
            csv("date,USD,_sdc_batched_at", "2026-01-02,1.2,x", "2026-01-01,1.1,x", "2026-01-02,1.3,x"),
            csv("date,GBP,USD", "2026-01-02T00:00:00Z,0.9,1.4"),
        ]
    )
    assert table.dates == ["2026-01-01", "2026-01-02"]
    assert table.rates == {"2026-01-01": {"USD": 1.1}, "2026-01-02": {"GBP": 0.9, "USD": 1.4}}
    assert table.columns == 3


@pytest.mark.parametrize("cell", ["", "N/A", "nan", "inf", "-inf", "1,2"[:0], "—"])
def test_missing_values_are_left_out(cell: str) -> None:
    """A rate that was not quoted is not there, rather than nought."""
    assert read([csv("date,USD,JPY", f"2026-01-01,{cell},150")]).rates == {"2026-01-01": {"JPY": 150.0}}


@pytest.mark.parametrize(
    "data",
    [b"", b"\n", b"a,b\n1,2\n", b"date\n", b"date,USD\n,1.1\n", b"\xff\xfe\x00", b"date,USD\n2026-01-01\n", b'date,"USD\n2026-01-01,1'],
)
def test_odd_files_do_not_crash(data: bytes) -> None:
    """A file without dates, short rows or with bytes that are no text shows what can be shown."""
    assert all(not rate for rate in read([data]).rates.values())


def test_the_latest_rates() -> None:
    """Each currency is shown with its latest rate and its change since the first day shown; the base and unknown ones are not."""
    table = Table({"2026-01-01": {"USD": 1.0, "JPY": 100.0, "EUR": 1.0, "XYZ": 1.0}, "2026-01-02": {"USD": 1.25, "JPY": 90.0}}, 5)
    headers, rows = latest(table, "EUR")
    assert headers == ["", "2026-01-02", "2 days", "change"]
    assert rows == [["EUR/USD", "1.25", "▁█", "+25.0 %"], ["EUR/JPY", "90", "█▁", "-10.0 %"]]


@given(st.integers(1, 100))
def test_the_latest_days_only(count: int) -> None:
    """However many days there are, the newest are looked at and the course fits into a line."""
    table = Table({f"day {number:03}": {"USD": float(number)} for number in range(1, count + 1)}, 2)
    headers, ((_, rate, course, change),) = latest(table, "EUR")
    first = max(1, count - DAYS + 1)
    assert headers[1:3] == [f"day {count:03}", f"{min(count, DAYS)} days"]
    assert rate == str(count)
    assert change == f"{(count / first - 1) * 100:+.1f} %"
    assert 1 <= len(course) <= 30


def test_a_rate_of_nought_does_not_crash() -> None:
    """A first rate of 0, from which no change can be computed, is shown all the same."""
    _, rows = latest(Table({"2026-01-01": {"USD": 0.0}, "2026-01-02": {"USD": 1.0}}, 2), "EUR")
    assert rows[0][:2] == ["EUR/USD", "1"]
