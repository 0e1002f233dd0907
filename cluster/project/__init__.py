"""The files in ``singer-configs/``, and the connectors' venvs. Start with ``reader``."""
