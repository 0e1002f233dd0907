"""What stands in ``singer-configs/``, and the connectors' venvs."""
