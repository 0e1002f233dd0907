"""The report: turn run records into one self-contained HTML page.

- Only ``Markup`` enters the page as it is; ``element`` and ``joined`` escape everything else.
- Drawings stretch with the page. Their labels are HTML, so they stay readable at any width.
- The page has no script and loads nothing. Its stylesheet, ``report.css``, is copied into it.
"""

from __future__ import annotations

import html
import math
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from cluster.runs import outcome
from cluster.ui.command_line import command
from cluster.ui.format import count, gigabytes, megabytes, seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from cluster.runs.record import Record

    Course = tuple[str, Sequence[tuple[datetime, float]]]

LISTED = 50
"""The number of runs in the list; the figures count all of them."""
KINDS = 10
"""The number of kinds of failures in the list, latest first."""
STRIP = 30
TICKS = 7
LEVELS = 4
MINUS = "\N{MINUS SIGN}"
FAILED = ("failed", "interrupted")
LEGEND = {"well": "succeeded", "open": "running", "bad": "failed or interrupted"}
"""CSS class and label of each status, in drawing order: failed runs are on top."""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
MINUTES = (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 7 * 1440, 14 * 1440)
MONTHS = (1, 2, 3, 6, 12, 24, 60, 120)
A_MONTH = timedelta(days=30)
A_DAY = timedelta(days=1)
GIGABYTE = 1e9


class Markup(str):
    """HTML that needs no escaping."""

    __slots__ = ()


def element(name: str, *content: str, **attributes: str) -> Markup:
    """Return an element; escape content that is not ``Markup``.

    ``class_`` becomes ``class``; other underscores in the names of attributes become hyphens.
    """
    words = "".join(f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"' for key, value in attributes.items())
    return Markup(f"<{name}{words}>{joined(content)}</{name}>")


def joined(parts: Iterable[str]) -> Markup:
    """Join the parts; escape those that are not ``Markup``."""
    return Markup("".join(part if isinstance(part, Markup) else html.escape(part) for part in parts))


def page(records: Sequence[Record], courses: Sequence[Course], written: datetime, late: Sequence[str] = ()) -> str:
    """Return the page.

    *records* are newest first, each with its current status. A course is a title and dated values,
    oldest first. *late* has a sentence for each pipeline that is late.
    """
    style = Path(__file__).with_suffix(".css").read_text(encoding="utf-8")
    span = " to ".join(dict.fromkeys(f"{moment:%Y-%m-%d}" for moment in _span(records, written)))
    head = joined(
        [
            Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
            Markup(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><link rel="icon" href="data:,">'),
            element("title", "singer: runs"),
            element("style", Markup(style)),
        ]
    )
    body = [
        element("header", element("h1", "singer"), element("p", f"Runs, {span} · written {written:%Y-%m-%d %H:%M} · times are UTC")),
        _figures(records),
        *([_section("Late", element("ul", *(element("li", text) for text in late)))] if late else []),
        _section("Pipelines", _pipelines(records)),
        _section("Timeline", _timeline(records, written)),
        _section("Failures", _failures(records)),
        *([_section("Rates", _rates(courses))] if courses else []),
        _section("Runs", _runs(records)),
    ]
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body><main>{joined(body)}</main></body></html>\n'


def _section(title: str, *content: str) -> Markup:
    return element("section", element("h2", title), *content)


# ------------------------------------------------------------------------------------------------------------ facts


def _moment(record: Record) -> datetime | None:
    """Return when a run began, in UTC; None if its record has no valid time."""
    try:
        moment = datetime.fromisoformat(record.started)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _clock(record: Record) -> str:
    moment = _moment(record)
    return f"{moment:%Y-%m-%d %H:%M}" if moment else "not known"


def _span(records: Sequence[Record], written: datetime) -> tuple[datetime, datetime]:
    moments = list(filter(None, map(_moment, records)))
    return min(moments, default=written), max(moments, default=written)


def _failed(records: Iterable[Record]) -> int:
    return sum(record.status in FAILED for record in records)


def _took(values: Sequence[float]) -> str:
    return seconds(median(values)) if values else ""


def _groups(records: Sequence[Record]) -> list[tuple[str, str, list[Record]]]:
    """Return pipeline, engine and their runs, newest first. Each engine has its own states."""
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        groups[record.pipeline, record.engine].append(record)
    return [(*key, groups[key]) for key in sorted(groups)]


def _figures(records: Sequence[Record]) -> Markup:
    size = sum(sum(record.bytes.values()) for record in records)
    figures = [
        (f"{len(records):,}", "run" if len(records) == 1 else "runs"),
        (f"{_failed(records):,}", "failed"),
        (f"{sum(record.stored for record in records):,}", "records loaded"),
        (gigabytes(size) if size >= GIGABYTE else megabytes(size), "data"),
        (seconds(sum(record.seconds or 0 for record in records)), "time"),
    ]
    return element("dl", *(element("div", element("dt", word), element("dd", value)) for value, word in figures), class_="figures")


# ----------------------------------------------------------------------------------------------------------- tables


def _table(heads: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]]) -> Markup:
    """Return a table. Each head is a title and the CSS classes of its column.

    ``n`` is a column of numbers; ``w`` is hidden on narrow pages.
    """
    classes = [kind for _, kind in heads]
    top = element("tr", *(element("th", title, class_=kind, scope="col") for title, kind in heads))
    body = (element("tr", *(element("td", cell, class_=kind) for cell, kind in zip(row, classes, strict=True))) for row in rows)
    return element("table", element("thead", top), element("tbody", *body))


def _status(record: Record) -> Markup:
    code = record.error["code"] if record.error else ""
    warned = count(len(record.warnings), "warning") if record.warnings else ""
    spans = [element("span", text, class_="code") for text in (code, warned) if text]
    return joined([element("span", record.status, class_=f"status {_kind(record)}"), *spans])


def _kind(record: Record) -> str:
    return "bad" if record.status in FAILED else "well" if record.status == "succeeded" else "open"


def _pipelines(records: Sequence[Record]) -> Markup:
    heads = [
        ("pipeline", "name"),
        ("engine", "w"),
        ("runs", "n"),
        ("failed", "n"),
        ("loaded", "n w"),
        ("median", "n w"),
        ("longest", "n w"),
        (f"last {STRIP} runs", "w"),
        ("last", "right"),
    ]
    rows = []
    for name, engine, runs in _groups(records):
        times = [record.seconds for record in runs if record.seconds is not None]
        failed = _failed(runs)
        rows.append(
            [
                element("b", name),
                engine,
                f"{len(runs):,}",
                element("span", f"{failed:,}", class_="bad" if failed else "quiet"),
                f"{sum(record.stored for record in runs):,}",
                _took(times),
                seconds(max(times)) if times else "",
                _strip(runs[:STRIP]),
                joined([element("span", runs[0].status, class_=f"status {_kind(runs[0])}"), " ", element("time", _clock(runs[0]))]),
            ]
        )
    return _table(heads, rows)


def _failures(records: Sequence[Record]) -> Markup:
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        if record.status in FAILED:
            groups[record.pipeline, record.error["code"] if record.error else record.status].append(record)
    if not groups:
        return element("p", "None.", class_="quiet")
    parts = []
    for (pipeline, code), runs in list(groups.items())[:KINDS]:
        error = runs[0].error or {"problem": "", "hint": ""}
        times = f"{'once' if len(runs) == 1 else f'{len(runs):,} times, last'} {_clock(runs[0])}"
        parts += [
            element("dt", element("b", pipeline), " ", element("span", code, class_="code"), element("small", times)),
            element("dd", error["problem"], *([element("p", f"→ {error['hint']}", class_="quiet")] if error["hint"] else [])),
        ]
    rest = len(groups) - KINDS
    more = [element("p", f"{rest:,} more kinds, none of them later.", class_="quiet")] if rest > 0 else []
    return joined([element("dl", *parts, class_="failures"), *more])


def _runs(records: Sequence[Record]) -> Markup:
    heads = [("started", ""), ("pipeline", "name"), ("engine", "w"), ("status", ""), ("records", "n"), ("time", "n w"), ("run", "w right")]
    rows = [
        [
            element("time", _clock(record)),
            record.pipeline,
            record.engine,
            _status(record),
            outcome.counted(record),
            seconds(record.seconds) if record.seconds is not None else "",
            element("code", record.run),
        ]
        for record in records[:LISTED]
    ]
    rest = len(records) - LISTED
    where = f"{rest:,} earlier runs are counted above; {command(f'runs --limit {len(records)}')} lists them."
    more = [element("p", where, class_="quiet")] if rest > 0 else []
    return joined([_table(heads, rows), *more])


# --------------------------------------------------------------------------------------------------------- drawings


def _drawing(paths: Iterable[tuple[str, str]], label: str, width: int) -> Markup:
    """Return an SVG of *width* by 100 that fills its box; lines keep their width."""
    drawn = (element("path", d=path, class_=kind) for path, kind in paths if path)
    return element("svg", *drawn, viewBox=f"0 0 {width} 100", preserveAspectRatio="none", role="img", aria_label=label)


def _strip(records: Sequence[Record]) -> Markup:
    """Draw a bar for each of the last runs, newest at the right; its height is the duration."""
    most = max((record.seconds or 0 for record in records), default=0)
    paths: dict[str, str] = defaultdict(str)
    for position, record in enumerate(reversed(records), STRIP - len(records)):
        height = 10 + 90 * ((record.seconds or 0) / most if most else 0)
        paths[_kind(record)] += f"M{position * 10 + 5} 100V{100 - height:.0f}"
    label = f"The last {count(len(records), 'run')}, the longest {seconds(most)}, {_failed(records)} failed"
    return element("div", _drawing(((path, kind) for kind, path in paths.items()), label, STRIP * 10), class_="strip")


def _timeline(records: Sequence[Record], written: datetime) -> Markup:
    """Draw a lane per pipeline and engine, with a mark where a run began, higher if it failed."""
    first, latest = _span(records, written)
    last = max(written, latest, first + timedelta(minutes=10))
    lanes = []
    for name, engine, runs in _groups(records):
        paths: dict[str, str] = defaultdict(str)
        for record in runs:
            kind, moment = _kind(record), _moment(record)
            if moment:
                paths[kind] += f"M{_share(moment, first, last) * 1000:.1f} {'0V100' if kind == 'bad' else '30V70'}"
        label = f"{name}: {count(len(runs), 'run')}, {_failed(runs)} failed"
        drawing = _drawing(((paths[kind], kind) for kind in LEGEND), label, 1000)
        lanes += [element("div", name, " ", element("small", engine)), element("div", drawing, class_="lane")]
    labels = element("div", *_labels(first, last), class_="labels")
    legend = (part for kind, word in LEGEND.items() for part in (element("i", class_=kind), word))
    return joined([element("div", *lanes, element("div"), labels, class_="lanes"), element("p", *legend, class_="quiet legend")])


def _rates(courses: Sequence[Course]) -> Markup:
    return element("div", *map(_plot, courses), class_="plots")


def _plot(course: Course) -> Markup:
    """Draw one course, with its latest value, lines at round values, and dates below."""
    title, points = course
    dates, values = [moment for moment, _ in points], [value for _, value in points]
    first, last = dates[0], max(dates[-1], dates[0] + A_DAY)
    marks = _round_values(min(values), max(values))
    low, high = min(marks[0], *values), max(marks[-1], *values)
    height = high - low or 1.0
    line = "M" + "L".join(f"{_share(moment, first, last) * 1000:.1f} {(high - value) / height * 100:.1f}" for moment, value in points)
    digits = max(0, -math.floor(math.log10(marks[1] - marks[0]) + 1e-9))
    levels = [(f"{(high - mark) / height * 100:.2f}%", f"{mark:,.{digits}f}") for mark in marks]
    grid = "".join(f"M0 {(high - mark) / height * 100:.1f}H1000" for mark in marks)
    change = (values[-1] / values[0] - 1) * 100 if values[0] else 0.0
    lowest, highest = (chosen(points, key=lambda point: point[1]) for chosen in (min, max))
    summary = f"between {lowest[1]:.6g} ({lowest[0]:%d %b}) and {highest[1]:.6g} ({highest[0]:%d %b})"
    return element(
        "figure",
        element(
            "figcaption",
            element("b", title),
            element("span", f"{values[-1]:.6g}", class_="value"),
            element("small", f"{change:+.1f} %".replace("-", MINUS) + f" since {first:%Y-%m-%d}"),
        ),
        element(
            "div",
            _drawing([(grid, "grid"), (line, "line")], f"{title}, {first:%Y-%m-%d} to {dates[-1]:%Y-%m-%d}: {summary}", 1000),
            *(element("span", label, class_="level", style=f"top:{top}") for top, label in levels),
            class_="plot",
        ),
        element("div", *_labels(first, last), class_="labels"),
        element("small", summary, class_="quiet"),
    )


def _share(moment: datetime, first: datetime, last: datetime) -> float:
    """Return the position of *moment* between *first* and *last*, from 0 to 1."""
    return (moment - first) / (last - first)


def _labels(first: datetime, last: datetime) -> Iterator[Markup]:
    for moment, text in _ticks(first, last):
        yield element("span", text, style=f"left:{_share(moment, first, last) * 100:.2f}%")


def _ticks(first: datetime, last: datetime) -> Iterator[tuple[datetime, str]]:
    """Yield a few round moments between *first* and *last*, each with its label."""
    span = last - first
    step = next((minutes for minutes in MINUTES if span <= TICKS * timedelta(minutes=minutes)), 0)
    if step:
        form = "%H:%M" if step < A_DAY.total_seconds() / 60 else "%d %b"
        start = datetime(first.year, first.month, first.day, tzinfo=UTC)
        count = math.ceil((first - start) / timedelta(minutes=step))
        moments = (start + timedelta(minutes=step * number) for number in range(count, count + TICKS + 1))
    else:
        step = next((months for months in MONTHS if span <= TICKS * months * A_MONTH), MONTHS[-1])
        begin = math.ceil((first.year * 12 + first.month - 1 + (first.day > 1)) / step) * step
        moments = (datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC) for number in range(begin, begin + step * (TICKS + 1), step))
        form = "%b"
    for moment in moments:
        if first <= moment <= last:
            yield moment, moment.strftime("%Y" if form == "%b" and moment.month == 1 else form)


def _round_values(low: float, high: float) -> list[float]:
    """Return a few round values at equal distances that cover *low* to *high*."""
    span = (high - low) or abs(high) / 10 or 1.0
    unit = 10.0 ** math.floor(math.log10(span / 3))
    step = next(unit * factor for factor in (1, 2, 5, 10) if span <= LEVELS * unit * factor)
    begin = math.floor(low / step)
    return [number * step for number in range(begin, math.ceil(high / step) + 1)] if high > low else [begin * step, (begin + 1) * step]
