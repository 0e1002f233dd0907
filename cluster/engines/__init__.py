"""The engines: each runs a ``Job`` and returns a ``Record``. Start reading in ``choice.py``."""
