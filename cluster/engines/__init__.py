"""What runs a pipeline. Each engine takes a ``Job`` and leaves a ``Record``."""
