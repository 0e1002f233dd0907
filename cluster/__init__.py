"""The code behind ``tasks.py``.

Imports point downwards only, and the import contract in ``pyproject.toml`` says so::

    cli                                     errors become a sentence, a hint and an exit code
    running    commands  platform  doctor   what each command does: runs begin in running, the rest about them is in commands;
    workshop   testing                      connectors are made and tried in the workshop; this checkout's own tests
    example    report  plan  export         a look at files and at the past; the steps of `up` and of `sync`, as files too,
    converge   moving  reader  outputs      and how they are run; a state carried to an environment; a run's files
    places     preview                      which engine a command means, and where its runs are; rates as a table
    engines    session  steps               tap | target as two processes, or as a Workflow; what `up` makes true
    schedules                               CronWorkflows
    objects  kept                           what is ours in the cluster; data that outlives it
    stack                                   the handles that every step receives
    providers  tunnel                       where a cluster comes from; connections into its pods
    images                                  what runs in it
    events                                  what starts a pipeline beside its schedule, as objects of Argo Events
    environments  runs                      uv makes the connectors' environments; run records
    preflight  redaction                    what a machine must have; secrets taken out of what is passed on
    ports                                   who holds a port
    runtime    backfill   registry          docker, podman or nerdctl; a run over days that somebody names; what a registry has
    verdict  workflows                      what two sides have left behind, and what it means; a pipeline as Argo's objects
    store  connectors  kube  manifests      buckets; what stands in singer-configs/; the cluster's API; its objects as data
    programs  instance  kubeconfig  web     other programs; what this checkout remembers; one context of the user's; the world
    network    rights                       a company's proxy and its certificates; what an administrator must allow
    progress   settings                     what people and programs see; what users may choose
    fields     files  advice  layout        strict reading of what people write; private folders; what to type on this system; which version
    errors                                  problem, hint, code

``minio`` is imported by ``store`` alone, ``kubernetes`` by ``kube`` alone, ``rich`` by ``progress`` alone.
"""

import os
import sys

# Invoke switches the writing of bytecode off for its whole process; our own modules are worth keeping compiled.
sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode or os.environ.get("PYTHONDONTWRITEBYTECODE"))
