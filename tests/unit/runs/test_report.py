"""The page about the past."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from cluster.runs.record import Record, Side
from cluster.runs.report import _round_values, _ticks, element, joined, page

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
ERROR = {"code": "E-TAP-FAILED", "problem": "no token", "hint": "Set one."}
LOADS = {"script", "link", "img", "iframe", "object", "embed", "base", "form", "audio", "video", "source", "a", "use", "image"}


def run(number: int, **fields: object) -> Record:
    """Return a run that began so many days before now."""
    began = f"{NOW - timedelta(days=number):%Y-%m-%dT%H:%M:%SZ}"
    record = Record(f"run-{number}", "p", "local", began, Side("tap-x", "1"), Side("target-y", "2"), None, status="succeeded", seconds=2.0)
    return replace(record, **{"records": {"s": 1000}, **fields})  # type: ignore[arg-type]


class Reader(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self, text: str) -> None:
        """Read it all."""
        super().__init__()
        self.names: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember an element."""
        self.names.add(tag)
        self.attributes += [(tag, key, value or "") for key, value in attrs]

    def handle_data(self, data: str) -> None:
        """Remember a text."""
        self.text.append(data)


nasty = st.sampled_from(['<script>alert("1")</script>', "</style><img src=x onerror=y>", "'\" onload='z", "&lt;b&gt;", "]]>"]) | st.text(
    max_size=20
)
errors = st.none() | st.fixed_dictionaries({"code": nasty, "problem": nasty, "hint": nasty})
statuses = st.sampled_from(["succeeded", "failed", "interrupted", "running"])
whens = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)).map(lambda moment: f"{moment.isoformat()}Z") | nasty  # noqa: DTZ001
runs = st.builds(
    Record,
    run=nasty,
    pipeline=nasty,
    engine=st.sampled_from(["local", "argo"]),
    started=whens,
    tap=st.just(Side("t", "1")),
    target=st.just(Side("t", "1")),
    state_before=st.none(),
    status=statuses,
    seconds=st.none() | st.floats(0, 1e6),
    records=st.dictionaries(nasty, st.integers(0, 10**9), max_size=2),
    error=errors,
)
values = st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=2, max_size=5)


@given(st.lists(runs, max_size=5), nasty, values)
def test_whatever_stands_in_a_record_is_text(records: list[Record], title: str, rates: list[float]) -> None:
    """No name and no error of a record becomes an element or an attribute, and the page loads nothing and runs nothing."""
    rates = [round(value, 6) for value in rates]
    course = [(NOW + timedelta(days=day), value) for day, value in enumerate(rates)]
    reader = Reader(page(records, [(title, course)], NOW))
    assert reader.names & LOADS == {"link"}
    assert [value for tag, key, value in reader.attributes if key in {"href", "src", "action"}] == ["data:,"]
    assert not [key for _, key, _ in reader.attributes if key.startswith("on")]
    text = "".join(reader.text)
    assert all(record.pipeline in text for record in records)
    assert "url(" not in text


def test_content_is_escaped_unless_it_is_markup() -> None:
    """A text is escaped where it enters; what has been made of elements is not escaped twice."""
    assert element("b", "<i>", element("u", "&"), title='"') == '<b title="&quot;">&lt;i&gt;<u>&amp;</u></b>'
    assert joined(["<", element("br")]) == "&lt;<br></br>"


def test_the_figures() -> None:
    """The page counts runs, failures and records, and names pipeline, code and last message of a failure."""
    records = [
        run(0, status="running", seconds=None, records={}),
        run(1, status="failed", error=ERROR),
        run(2),
        run(3, status="interrupted"),
    ]
    text = "|".join(Reader(page(records, [], NOW)).text)
    assert "|runs|4|failed|2|records loaded|1,000|" in text
    assert "|E-TAP-FAILED|once 2026-11-23 12:00|no token|→ Set one.|" in text
    assert "|interrupted|once 2026-11-21 12:00|" in text
    assert "Runs, 2026-11-21 to 2026-11-24" in text
    assert "Rates" not in text


def test_each_engine_has_a_line() -> None:
    """A pipeline that both engines have run is listed for each of them."""
    records = [run(0), run(1, engine="argo"), run(2, engine="argo")]
    lanes = re.findall(r'aria-label="p: (\d) runs?, 0 failed"', page(records, [], NOW))
    assert lanes == ["2", "1"]


def test_a_thousand_runs_make_a_small_page() -> None:
    """All runs are counted and drawn, the newest are listed, and the page stays small."""
    text = page([run(number, status="failed" if number % 9 == 0 else "succeeded") for number in range(1000)], [], NOW)
    assert len(text) < 100_000
    assert "950 earlier runs are counted above; invoke runs --limit 1000 lists them." in text
    marks = re.findall(r'<path d="([^"]+)" class="(?:well|bad)">', text.partition("Timeline")[2])
    assert sum(path.count("M") for path in marks) == 1000


def test_drawings_are_well_formed() -> None:
    """Each drawing is XML, describes in words what it shows, and stays within its box."""
    course = [(NOW - timedelta(days=300 - day), 1 + day / 100) for day in range(300)]
    drawings = re.findall(r"<svg.*?</svg>", page([run(0), run(1)], [("EUR/USD", course)], NOW))
    assert len(drawings) == 3
    for drawing in drawings:
        tree = ET.fromstring(drawing)  # noqa: S314 - our own page
        width = float(tree.attrib["viewBox"].split()[2])
        assert tree.attrib["aria-label"]
        for path in tree:
            points = re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path.attrib["d"])
            assert points
            assert all(0 <= float(x) <= width and 0 <= float(y) <= 100 for x, y in points)


@given(st.datetimes(datetime(1990, 1, 1), datetime(2050, 1, 1)), st.timedeltas(timedelta(minutes=1), timedelta(days=4000)))  # noqa: DTZ001
def test_a_time_axis_has_a_few_round_labels(first: datetime, span: timedelta) -> None:
    """Any span of time has at least one label and at most eight, in order, all within it, all on a full minute."""
    first = first.replace(tzinfo=UTC)
    ticks = list(_ticks(first, first + span))
    moments = [moment for moment, _ in ticks]
    assert 0 < len(ticks) <= 8
    assert moments == sorted(moments)
    assert all(first <= moment <= first + span and moment.second == 0 for moment in moments)


@given(st.floats(-1e6, 1e6), st.floats(1e-4, 1e6))
def test_a_value_axis_covers_the_values(low: float, span: float) -> None:
    """The levels are few, at equal distances, and the outermost enclose the values."""
    levels = _round_values(low, low + span)
    assert 2 <= len(levels) <= 7
    step = levels[1] - levels[0]
    assert levels[0] <= low + step / 1e6
    assert levels[-1] >= low + span - step / 1e6
