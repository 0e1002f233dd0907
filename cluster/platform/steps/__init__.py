"""The steps of ``up``, a module for each subject."""
