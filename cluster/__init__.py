"""The code behind ``tasks.py``: packages by subject, imports point downwards only.

======================================  ============================================================
package                                 subject
======================================  ============================================================
``commands``                            what each command does; ``frame`` wraps every command
``doctor``  ``onboarding``              checks of the machine; connectors: find, make, try, select
``engines``                             running a pipeline, here or in the cluster
``platform``                            what ``up`` establishes in a cluster
``providers``                           where a cluster comes from: kind, minikube, existing
``argo``  ``runs``  ``containers``      Argo's objects as data; run records; images and their runtime
``store``  ``project``  ``kube``        buckets; ``singer-configs/``; the Kubernetes API
``net``  ``session``                    proxy and HTTP; what a command receives
``host``                                programs, files and locks of this machine
``config``  ``ui``                      settings; output
``errors``                              problem, hint, code
======================================  ============================================================

The import contracts in ``pyproject.toml`` enforce the order. To find a command, start in ``tasks.py`` and follow its import.
"""

import os
import sys

# Invoke switches the writing of bytecode off for its whole process; our own modules are worth keeping compiled.
sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode or os.environ.get("PYTHONDONTWRITEBYTECODE"))

__version__ = "0.1.0"
