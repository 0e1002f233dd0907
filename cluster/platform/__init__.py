"""The platform in the cluster: Argo Workflows, the store, and our objects.

Start reading at ``plan``: it lists the steps, and ``steps/base.py`` defines a step.
``converge`` runs them; every step receives ``handles``. Imports ``providers``, ``argo``, ``runs``
and below.
"""
