"""Runs, their records, states, files and reports."""
