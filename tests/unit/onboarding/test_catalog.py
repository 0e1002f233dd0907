"""Catalogs: what is selected as taps of every age read it, what people choose, and what outlives another discovery."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import entrypoint
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import SetupError
from cluster.onboarding.catalog import Stream, is_system, kind, merge, streams_of
from cluster.onboarding.selection import Choice, select

if TYPE_CHECKING:
    from collections.abc import Iterable

Entry = dict[str, Any]
FIELDS = {"id": "integer", "name": "string", "email": "string", "at": "string"}


def facts(*path: str, **values: Any) -> Entry:
    """Return the metadata of a field, or of the stream itself."""
    breadcrumb = [part for name in path for part in ("properties", name)]
    return {"breadcrumb": breadcrumb, "metadata": {name.replace("_", "-"): value for name, value in values.items()}}


def entry(name: str, *metadata: Entry, **more: Any) -> Entry:
    """Return a stream of a catalog: four fields, of which the first is its key."""
    properties = {field: {"type": ["null", kind]} for field, kind in FIELDS.items()}
    schema = {"type": "object", "properties": properties}
    return {"tap_stream_id": name, "stream": name, "key_properties": ["id"], "schema": schema, "metadata": list(metadata), **more}


def modern(name: str, **root: Any) -> Entry:
    """Return a stream as singer-sdk describes it."""
    available = [facts(field, inclusion="available") for field in ("name", "email", "at")]
    values = {"inclusion": "available", "table_key_properties": ["id"], **root}
    return entry(name, facts(**values), facts("id", inclusion="automatic"), *available)


def nested() -> Entry:
    """Return a stream with an object in it."""
    schema = {
        "type": "object",
        "properties": {
            "id": {"type": "integer"},
            "address": {"type": "object", "properties": {"street": {"type": "string"}, "geo": {"properties": {"lat": {"type": "number"}}}}},
        },
    }
    return {"tap_stream_id": "people", "schema": schema, "key_properties": ["id"], "metadata": [facts(selected=True)]}


def old(*, selected: bool | None = None) -> Entry:
    """Return a stream as taps of 2017 describe it: all of it in the schema."""
    properties: Entry = {field: {"type": kind, "inclusion": "available"} for field, kind in FIELDS.items()}
    properties["id"]["inclusion"] = "automatic"
    schema = {"type": "object", "properties": properties, **({} if selected is None else {"selected": selected})}
    return {"stream": "old", "tap_stream_id": "old", "schema": schema}


def loads(one: Entry) -> dict[str, bool]:
    """Return what of a stream is selected, by the dotted names of its fields."""
    return {field.name: field.selected for field in Stream(one).fields.values()}


def chosen(entries: Iterable[Entry], **choice: Any) -> tuple[dict[str, list[str]], list[str]]:
    """Choose, write, and read again: the selected streams with their selected fields; and the notes."""
    catalog = {"streams": list(entries)}
    streams = streams_of(catalog)
    notes = select(streams, Choice(**choice))
    for stream in streams:
        stream.write()
    again = streams_of(json.loads(json.dumps(catalog)))
    return {one.id: [field.name for field in one.fields.values() if field.selected] for one in again if one.selected}, notes


# ----------------------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize(
    ("one", "selected"),
    [
        (entry("s"), True),
        (entry("s", facts(inclusion="available")), False),
        (entry("s", facts(selected=True)), True),
        (entry("s", facts(selected=False, selected_by_default=True)), False),
        (entry("s", facts(selected_by_default=True)), True),
        (entry("s", facts(selected=True, inclusion="unsupported")), False),
        (old(selected=True), True),
        (old(selected=False), False),
        (entry("s", facts(inclusion="available"), selected=True), True),
    ],
)
def test_which_streams_are_selected(one: Entry, selected: bool) -> None:  # noqa: FBT001 - a case
    """A stream's own word counts, else the tap's default; one without any metadata is loaded, as singer-sdk does."""
    assert Stream(one).selected is selected


@pytest.mark.parametrize(
    ("metadata", "selected"),
    [
        ({}, True),
        ({"inclusion": "available"}, True),
        ({"selected": False}, False),
        ({"selected_by_default": False}, False),
        ({"selected": True, "selected_by_default": False}, True),
        ({"inclusion": "automatic", "selected": False}, True),
        ({"inclusion": "unsupported", "selected": True}, False),
    ],
)
def test_which_fields_are_selected(metadata: Entry, selected: bool) -> None:  # noqa: FBT001 - a case
    """A field's own word counts, else the default, else its stream's; automatic is always, unsupported never."""
    assert loads(entry("s", facts(selected=True), facts("name", **metadata)))["name"] is selected


def test_what_stands_in_an_object_goes_with_it() -> None:
    """A nested field is selected only if all fields around it are."""
    one = nested()
    one["metadata"] += [facts("address", "geo", selected=False), facts("address", "geo", "lat", selected=True)]
    selected = {"id": True, "address": True, "address.street": True, "address.geo": False, "address.geo.lat": False}
    assert loads(one) == selected


@pytest.mark.parametrize("metadata", [None, "x", [1], [{"breadcrumb": "x", "metadata": {}}], [{"breadcrumb": [], "metadata": None}]])
def test_odd_metadata_is_none(metadata: object) -> None:
    """Metadata of another form has no effect, is left as far as it can be, and does not crash."""
    one = entry("s")
    one["metadata"] = metadata
    assert chosen([one], streams=("s",), exclude=("s.email",))[0] == {"s": ["id", "name", "at"]}


@pytest.mark.parametrize(
    ("schema", "shown"),
    [
        ({"type": "string"}, "string"),
        ({"type": ["null", "integer"]}, "integer?"),
        ({"type": ["string", "null"], "format": "date-time"}, "date-time?"),
        ({"anyOf": [{"type": "string", "format": "date"}, {"type": ["null", "string"]}]}, "date | string?"),
        ({"type": ["integer", "string"]}, "integer | string"),
        ({}, "any"),
        ({"type": 3}, "any"),
    ],
)
def test_types_are_shown_in_a_word(schema: Entry, shown: str) -> None:
    """What people read of a type is its name or format, and a question mark where it may be null."""
    assert kind(schema) == shown


# --------------------------------------------------------------------------------------------------------- selecting

THREE = ("users", "orders", "order_lines")
ALL = ["id", "name", "email", "at"]


def three(**root: Any) -> list[Entry]:
    """Return three streams, all selected unless *root* overrides it."""
    return [modern(name, **{"selected": True, **root}) for name in THREE]


@pytest.mark.parametrize(
    ("choice", "selected"),
    [
        ({"everything": True}, dict.fromkeys(THREE, ALL)),
        ({"nothing": True}, {}),
        ({"streams": ("users",)}, {"users": ALL}),
        ({"streams": ("order*",)}, {"orders": ALL, "order_lines": ALL}),
        ({"streams": ("users", "orders"), "exclude": ("orders",)}, {"users": ALL}),
        ({"exclude": ("order*",)}, {"users": ALL}),
        ({"exclude": ("users.email", "*.at")}, {**dict.fromkeys(THREE, ALL[:3]), "users": ALL[:2]}),
        ({"streams": ("users",), "fields": ("users.name",)}, {"users": ["id", "name"]}),
        ({"nothing": True, "fields": ("users.*m*",)}, {"users": ["id", "name", "email"]}),
        ({"nothing": True, "add": ("users", "orders.name")}, {"users": ALL, "orders": ALL}),
        ({"fields": ("users.name",), "add": ("users.at",), "exclude": ("o*",)}, {"users": ["id", "name", "at"]}),
        ({"streams": ("users",), "exclude": ("*.*",)}, {"users": ["id"]}),
    ],
)  # fmt: skip
def test_what_is_chosen_is_selected(choice: Entry, selected: dict[str, list[str]]) -> None:
    """Streams and fields, by name and by glob, one after the other: all or none, these alone, these as well, not these."""
    assert chosen(three(), **choice)[0] == selected


@pytest.mark.parametrize(("name", "why"), [("id", "automatic"), ("at", "the replication key")])
def test_what_is_always_loaded_cannot_be_excluded(name: str, why: str) -> None:
    """Excluding an automatic field, or the stream's replication key, changes nothing and is reported."""
    entries = [modern("users", selected=True, replication_method="INCREMENTAL", replication_key="at")]
    selected, notes = chosen(entries, exclude=(f"users.{name}",))
    assert (selected, notes) == ({"users": ALL}, [f"users.{name} is {why}: it is loaded with every record"])


def test_a_key_is_always_loaded() -> None:
    """A key that the tap calls available is loaded with every selection: without it records could not be distinguished."""
    selected, notes = chosen([entry("s", facts(selected=True))], fields=("s.name",), exclude=("s.id",))
    assert (selected, notes) == ({"s": ["id", "name"]}, ["s.id is a key: it is loaded with every record"])


def test_what_is_unsupported_cannot_be_selected() -> None:
    """A stream or field that the tap does not support stays out, and that is reported."""
    entries = [modern("users", inclusion="unsupported"), entry("orders", facts(selected=True), facts("email", inclusion="unsupported"))]
    selected, notes = chosen(entries, streams=("users", "orders"), add=("orders.email",))
    assert selected == {"orders": ["id", "name", "at"]}
    assert [note.partition(" is unsupported")[0] for note in notes] == ["users", "orders.email"]


def test_fields_in_objects() -> None:
    """A field in an object is named with dots, and choosing it alone takes the objects around it, not the fields beside it."""
    assert chosen([nested()], exclude=("people.address.geo",))[0] == {"people": ["id", "address", "address.street"]}
    assert chosen([nested()], fields=("people.address.geo.lat",))[0] == {"people": ["id", "address", "address.geo", "address.geo.lat"]}


def test_names_with_dots_are_names() -> None:
    """A stream whose name has a dot is found by it, and so are its fields."""
    entries = [modern("public.users", selected=True), modern("public.orders", selected=True)]
    assert set(chosen(entries, streams=("public.users",))[0]) == {"public.users"}
    assert chosen(entries, streams=("public.*",), exclude=("public.users.email",))[0] == {
        "public.users": ["id", "name", "at"],
        "public.orders": ALL,
    }


def test_the_oldest_taps_find_it_in_the_schema() -> None:
    """Where a tap describes selection in the schema, it is written there as well, never one thing here and another there."""
    one = old(selected=True)
    assert chosen([one], exclude=("old.email",))[0] == {"old": ["id", "name", "at"]}
    assert {name: part["selected"] for name, part in one["schema"]["properties"].items()} == {
        "id": True,
        "name": True,
        "email": False,
        "at": True,
    }
    assert chosen([one], nothing=True)[0] == {}
    assert (one["schema"]["selected"], one["selected"]) == (False, False)


def test_a_schema_of_today_is_left_alone() -> None:
    """In a catalog that has metadata, the schemas stay as the tap wrote them."""
    one = modern("users")
    before = copy.deepcopy(one["schema"])
    chosen([one], everything=True, exclude=("users.email",))
    assert one["schema"] == before


@pytest.mark.parametrize(
    ("choice", "says", "hint"),
    [
        ({"streams": ("user",)}, 'no stream "user" in the catalog. Did you mean "users"?', "order_lines, orders, users"),
        ({"exclude": ("users.emial",)}, 'users has no field "emial". Did you mean "email"?', "at, email, id, name"),
        ({"add": ("nothing*",)}, 'no stream "nothing*"', "Its streams are"),
        ({"keys": ("users=update",)}, 'users has no field "update"', "Its fields are"),
        ({"methods": ("usrs=FULL_TABLE",)}, 'no stream "usrs"', "Its streams are"),
    ],
)
def test_names_that_are_none(choice: Entry, says: str, hint: str) -> None:
    """A name or glob that fits nothing is answered with the nearest, and nothing is changed."""
    with pytest.raises(SetupError) as caught:
        chosen(three(), **choice)
    assert caught.value.code == "E-UNKNOWN"
    assert says in caught.value.problem
    assert hint in caught.value.hint


def test_a_thousand_names_are_not_all_listed() -> None:
    """Of many streams some are named, and how many more there are."""
    with pytest.raises(SetupError) as caught:
        chosen([modern(f"table_{number}") for number in range(1000)], streams=("x",))
    assert caught.value.hint.endswith(" and 980 more.")


# -------------------------------------------------------------------------------------------------------- replication


def replicated(one: Entry) -> tuple[str, str]:
    """Return how a stream is replicated, and see that singer-sdk and singer-python read the same."""
    stream = Stream(one)
    root = next(item["metadata"] for item in one["metadata"] if item["breadcrumb"] == [])
    assert (root["replication-method"], root.get("replication-key", "")) == (stream.method, stream.replication_key)
    assert (one["replication_method"], one.get("replication_key", "")) == (stream.method, stream.replication_key)
    return stream.method, stream.replication_key


def test_replication_is_written_where_every_tap_reads_it() -> None:
    """Method and key are set for one stream, for those that a glob fits, or for all that are selected."""
    entries = three()
    chosen(entries, methods=("full-table", "users=INCREMENTAL"), keys=("users=at",))
    assert [replicated(one) for one in entries] == [("INCREMENTAL", "at"), ("FULL_TABLE", ""), ("FULL_TABLE", "")]
    chosen(entries, keys=("order*=id",))
    assert [replicated(one) for one in entries] == [("INCREMENTAL", "at"), ("INCREMENTAL", "id"), ("INCREMENTAL", "id")]


@pytest.mark.parametrize(
    ("root", "choice", "says"),
    [
        ({}, {"methods": ("SOMEHOW",)}, '"SOMEHOW" is no replication method'),
        ({}, {"methods": ("INCREMENTALL",)}, 'Did you mean "INCREMENTAL"?'),
        ({}, {"methods": ("users=INCREMENTAL",)}, "users has no replication key"),
        ({"forced_replication_method": "FULL_TABLE"}, {"keys": ("users=at",)}, "replicates users by FULL_TABLE only"),
        ({"valid_replication_keys": ["at"]}, {"keys": ("users=id",)}, "cannot replicate users by id"),
    ],
)
def test_replication_that_cannot_be(root: Entry, choice: Entry, says: str) -> None:
    """A method that is none, that the tap does not allow or that lacks its key is refused."""
    with pytest.raises(SetupError) as caught:
        chosen(three(**root), **choice)
    assert caught.value.code == "E-SETTING"
    assert says in caught.value.problem


# --------------------------------------------------------------------------------------------------------- discovering


def test_a_first_discovery_selects_what_a_run_without_a_catalog_loads() -> None:
    """With the catalog that discover writes, a run loads the same streams as before."""
    entries = [modern("a"), modern("b", selected_by_default=False), modern("c", inclusion="unsupported"), entry("d"), old()]
    discovered = {"streams": copy.deepcopy(entries)}
    changes = merge(discovered, None)
    by_default = entrypoint.select_all({"streams": copy.deepcopy(entries)})["streams"]
    assert [one["selected"] for one in discovered["streams"]] == [one["selected"] for one in by_default] == [True, False, False, True, True]
    assert (changes.new, changes.gone, changes.changed) == (["a", "b", "c", "d", "old"], [], {})


def test_another_discovery_keeps_what_was_chosen() -> None:
    """Selection and replication outlive a discovery; what is new, gone and different is reported."""
    before = {"streams": three()}
    chosen(before["streams"], streams=("users", "orders"), exclude=("users.email",), keys=("users=at",))
    kept = copy.deepcopy(before)
    users, lines = modern("users"), modern("order_lines")
    users["schema"]["properties"] |= {"phone": {"type": "string"}, "name": {"type": "integer"}}
    del users["schema"]["properties"]["at"]
    discovered = {"streams": [users, lines, modern("invoices")]}
    changes = merge(discovered, before)

    assert before == kept
    assert (changes.new, changes.gone) == (["invoices"], ["orders"])
    assert changes.changed == {"users": ["+phone", "-at", "name: string? → integer"]}
    selected = {one.id: [field.name for field in one.loaded] for one in streams_of(discovered) if one.selected}
    assert selected == {"users": ["id", "name"]}
    assert Stream(users).method == "INCREMENTAL"


def test_what_is_new_is_selected_where_everything_was() -> None:
    """A new stream is selected where all streams were, a new field where all of its stream's fields were."""
    before = {"streams": three()[:2]}
    discovered = {"streams": [modern("users"), modern("orders"), modern("invoices")]}
    for one in discovered["streams"]:
        one["schema"]["properties"]["phone"] = {"type": "string"}
    chosen(before["streams"], exclude=("users.email",))
    merge(discovered, before)
    selected = {one.id: [field.name for field in one.loaded] for one in streams_of(discovered) if one.selected}
    assert selected == {"users": ["id", "name", "at"], "orders": [*ALL, "phone"], "invoices": [*ALL, "phone"]}


@pytest.mark.full  # seconds
def test_ten_thousand_streams() -> None:
    """A catalog of 10,000 streams is merged and selected from like any other."""
    discovered = {"streams": [modern(f"table_{number}") for number in range(10_000)]}
    merge(discovered, None)
    selected, _ = chosen(discovered["streams"], streams=("table_77*",))
    assert len(selected) == 111


# ------------------------------------------------------------------------------------------------------------- always

word = st.sampled_from(["a", "b", "c", "d.e"])
metadata_values = st.fixed_dictionaries(
    {},
    optional={
        "selected": st.booleans(),
        "selected-by-default": st.booleans(),
        "inclusion": st.sampled_from(["available", "automatic", "unsupported"]),
    },
)


@st.composite
def catalogs(draw: st.DrawFn) -> Entry:
    """Draw a catalog: new and old taps, flat and nested."""
    streams = []
    for name in draw(st.lists(word, min_size=1, unique=True)):
        properties: Entry = {
            field: draw(
                st.sampled_from([{"type": "string"}, {"properties": {"x": {}, "y": {}}}, {"inclusion": "available", "selected": True}])
            )
            for field in draw(st.lists(word, unique=True))
        }
        schema = copy.deepcopy({"type": "object", "properties": properties})
        metadata = [{"breadcrumb": [], "metadata": draw(metadata_values)}] if draw(st.booleans()) else []
        metadata += [
            {"breadcrumb": ["properties", field], "metadata": draw(metadata_values)} for field in properties if draw(st.booleans())
        ]
        keys = draw(st.lists(st.sampled_from(sorted(properties)), max_size=1)) if properties else []
        streams.append({"tap_stream_id": name, "schema": schema, "key_properties": keys, "metadata": metadata})
    return {"streams": streams}


patterns = st.lists(st.sampled_from(["*", "*.*", "a", "*.a", "*.*.x"]), max_size=2).map(tuple)
choices = st.builds(
    Choice, everything=st.booleans(), nothing=st.booleans(), streams=patterns, fields=patterns, add=patterns, exclude=patterns
)


def pick(catalog: Entry, choice: Choice) -> None:
    """Choose and write; a choice that fits nothing is none."""
    streams = streams_of(catalog)
    try:
        select(streams, choice)
    except SetupError:
        return
    for stream in streams:
        stream.write()


def seen(catalog: Entry) -> list[tuple[str, bool, list[bool]]]:
    """Return what is selected of a catalog."""
    return [(one.id, one.selected, [field.selected for field in one.fields.values()]) for one in streams_of(catalog)]


@given(catalogs(), choices)
def test_what_was_written_is_read_again(catalog: Entry, choice: Choice) -> None:
    """For any selection of any catalog: selecting it again changes nothing, and a discovery keeps it."""
    discovered = copy.deepcopy(catalog)
    pick(catalog, choice)
    first = copy.deepcopy(catalog)
    for stream in streams_of(catalog):
        stream.write()
    assert seen(catalog) == seen(first)
    pick(catalog, choice)
    assert seen(catalog) == seen(first)
    merge(discovered, catalog)
    assert seen(discovered) == seen(first)


@given(catalogs())
def test_every_kind_of_tap_reads_the_same(catalog: Entry) -> None:
    """After a discovery no field at the top leaves its selection to the program that reads it."""
    merge(catalog, None)
    for one in catalog["streams"]:
        stream = Stream(one)
        metadata = {tuple(item["breadcrumb"]): item["metadata"] for item in one["metadata"]}
        assert metadata[()]["selected"] is one["selected"] is stream.selected
        for field in stream.top:
            if field.inclusion != "unsupported":
                assert metadata["properties", field.name]["selected"] is field.selected


def database(**ids: str) -> dict[str, list[dict[str, object]]]:
    """Return a discovered catalog of a database: stream to schema."""
    return {
        "streams": [
            {
                "tap_stream_id": name.replace("__", "-"),
                "schema": {"type": "object", "properties": {"id": {"type": "integer"}}},
                "metadata": [{"breadcrumb": [], "metadata": {"schema-name": schema} if schema else {"inclusion": "available"}}],
            }
            for name, schema in ids.items()
        ]
    }


def test_tables_of_the_database_itself_are_not_selected() -> None:
    """A new catalog selects the user's tables; system tables are left out and do not count when new tables come."""
    discovered = database(pg_catalog__a="pg_catalog", public__users="public", information_schema__b="", sys__logs="")
    merge(discovered, None)
    assert {stream.id: stream.selected for stream in streams_of(discovered)} == {
        "pg_catalog-a": False,
        "public-users": True,
        "information_schema-b": False,
        "sys-logs": True,
    }
    assert [stream.id for stream in sorted(streams_of(discovered), key=is_system)][:2] == ["public-users", "sys-logs"]
    assert all(map(is_system, streams_of(database(X__T="SYS", DB__INFORMATION_SCHEMA__T="INFORMATION_SCHEMA", system__t="system"))))
    again = database(pg_catalog__a="pg_catalog", public__users="public", public__new="public")
    merge(again, discovered)
    assert {stream.id: stream.selected for stream in streams_of(again)} == {"pg_catalog-a": False, "public-users": True, "public-new": True}
    only = database(information_schema__b="information_schema")
    merge(only, None)
    assert [stream.selected for stream in streams_of(only)] == [True]
