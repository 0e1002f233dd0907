"""The code behind ``tasks.py``.

A package may import the packages below it in this list::

    commands                   the commands; ``frame`` wraps each of them
    doctor, onboarding         checks of the machine; connectors: search, add, check, select
    engines                    running a pipeline, locally or in the cluster
    platform                   the steps that ``up`` establishes in a cluster
    providers                  where a cluster comes from: kind, minikube, existing
    argo, runs, containers     Argo's objects as data; run records; images, container runtimes
    store, project, kube       buckets; ``singer-configs/``; the Kubernetes API
    net, session               proxy and HTTP; the objects that a command receives
    host                       programs, files and locks of this machine
    config, ui                 settings; output
    errors                     problem, hint, code

Import contracts in ``pyproject.toml`` enforce the order. To find the code of a command, follow its
import in ``tasks.py``.
"""

import os
import sys

# Invoke disables bytecode files for its process. We write them: commands start faster.
sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode or os.environ.get("PYTHONDONTWRITEBYTECODE"))

__version__ = "0.1.0"
