"""Settings, and strict reading of the files that people write."""
