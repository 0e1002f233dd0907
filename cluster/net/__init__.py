"""Connections to the outside: proxy, certificates, HTTP."""
