"""What the README shows works as it stands there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import yaml
from conftest import ROOT

if TYPE_CHECKING:
    from conftest import Checkout

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_a_pipeline_of_your_own(checkout: Checkout) -> None:
    """The three files of the README, written as they stand there, make a pipeline that runs."""
    connector, pipeline, scheduled = (
        text for text in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL) if not text.startswith("# invoke.yaml")
    )
    (config,) = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
    checkout.write("target-jsonl/connector.yaml", connector)
    checkout.write("target-jsonl/config.json", config)
    file = checkout.root / "singer-configs" / "pipelines.yaml"
    file.write_text(file.read_text() + pipeline)

    assert checkout.invoke("check").code == 0
    (known,) = yaml.safe_load(scheduled)
    others = {key: value for key, value in yaml.safe_load(file.read_text()).items() if key != known}
    file.write_text(scheduled + yaml.safe_dump(others))
    assert checkout.invoke("check").code == 0
    (name,) = yaml.safe_load(pipeline)
    result = checkout.run(name)
    assert result.code == 0, result.err
    assert result.last["outputs"] == [str(checkout.root / "output" / name / "exchange_rate.jsonl")]


def test_every_command_is_one() -> None:
    """Each command in the table of the README is known to Invoke."""
    import tasks  # noqa: PLC0415 - only this test needs it

    named = set(re.findall(r"\./invoke ([a-z]+)", README))
    assert named <= set(tasks.namespace.task_names)
    assert {"demo", "test", "up"} <= named
