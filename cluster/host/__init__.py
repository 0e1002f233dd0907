"""This machine: programs, files, locks, the operating system."""
