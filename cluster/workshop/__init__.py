"""What connectors are made and tried with, outside any pipeline."""
