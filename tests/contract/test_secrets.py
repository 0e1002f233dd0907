"""Secrets come from the environment or .env, reach the one connector that asks, and show up nowhere else."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from entrypoint import SECRET as ENTRYPOINT_SECRET

from cluster.connectors import SECRET

if TYPE_CHECKING:
    from conftest import Checkout

CANARY = "canary-7f3a9c"
OTHER = "quetzal-41be02"


def test_filled_in(checkout: Checkout) -> None:
    """A secret is filled in whole or embedded, from the environment before .env; $${ stays a literal."""
    step = [
        "say",
        {
            "type": "RECORD",
            "stream": "s",
            "record": {"whole": "${TOKEN}", "in": "a ${TOKEN} b", "dotenv": "${OTHER}", "literal": "$${TOKEN}"},
        },
    ]
    checkout.scripted({"steps": [["schema", "s"], step]})
    (checkout.root / ".env").write_text(f"# mine\nTOKEN=not-this-one\nexport OTHER='{OTHER}'  \n")
    assert checkout.run(TOKEN=CANARY).code == 0

    record = json.loads(next(iter(checkout.outputs().values())))
    assert record == {"whole": CANARY, "in": f"a {CANARY} b", "dotenv": OTHER, "literal": "${TOKEN}"}


def test_nowhere_else(checkout: Checkout) -> None:
    """A secret of the tap is not in the target's environment, nor of either side in a log, record, bucket or leftover file."""
    checkout.scripted(
        {"steps": [["schema", "s"], ["environment"], ["exit", 1]], "token": "${TOKEN}"}, {"environment": True, "password": "${PASSWORD}"}
    )
    result = checkout.run("p", "--raw", TOKEN=CANARY, PASSWORD=OTHER)
    assert result.error == "E-TAP-FAILED"
    assert checkout.invoke("show", "last", TOKEN=CANARY).code == 0

    for file in checkout.root.rglob("*"):
        if file.is_file() and not file.is_symlink():
            content = file.read_bytes()
            assert CANARY.encode() not in content, file
            assert OTHER.encode() not in content, file
    assert CANARY not in result.out + result.err
    assert OTHER not in result.out + result.err


def test_only_the_user_may_look(checkout: Checkout) -> None:
    """Below .local every folder of ours is 0700 and every file of the buckets 0600, while a run is under way too."""
    checkout.scripted({"steps": [["schema", "s"], ["records", "s", 1], ["state", {"n": 1}]]})
    checkout.run()

    for name in ("buckets", "locks", "logs", "runs"):
        assert (checkout.local / name).stat().st_mode & 0o077 == 0, name
    state = checkout.local / "buckets/singer-configs/pipelines/p/state.json"
    assert state.stat().st_mode & 0o777 == 0o600


def test_one_notation() -> None:
    """What the checks call a secret is what the entrypoint fills in."""
    assert SECRET.pattern == ENTRYPOINT_SECRET.pattern
    assert re.findall(SECRET, "${A}$${B}") == ["A", ""]
