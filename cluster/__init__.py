"""The code behind ``tasks.py``.

Imports point downwards only, and the import contract in ``pyproject.toml`` says so::

    cli                                     errors become a sentence, a hint and an exit code
    commands   platform                     what each command does
    preview    plan  converge  sync         a first look at files; the steps of `up`, and how they are run; what runs and schedules need
    engines    session  steps               tap | target as two processes, or as a Workflow; what `up` makes true
    stack                                   the handles that every step receives
    providers  images                       where a cluster comes from; what runs in it
    environments  runs  runtime             uv makes the connectors' environments; run records; docker, podman or nerdctl
    verdict  workflows                      what two sides have left behind, and what it means; a pipeline as Argo's objects
    store  connectors  kube  manifests      buckets; what stands in singer-configs/; the cluster's API; its objects as data
    programs  instance                      other people's programs; what this checkout remembers of its installation
    progress   settings                     what people and programs see; what users may choose
    fields     files                        strict reading of what people write; private folders
    errors                                  problem, hint, code

``minio`` is imported by ``store`` alone, ``kubernetes`` by ``kube`` alone, ``rich`` by ``progress`` alone.
"""

import os
import sys

# Invoke switches the writing of bytecode off for its whole process; our own modules are worth keeping compiled.
sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode or os.environ.get("PYTHONDONTWRITEBYTECODE"))
