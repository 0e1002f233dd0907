"""Argo's objects as data. Pure."""
