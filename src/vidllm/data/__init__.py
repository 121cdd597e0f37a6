"""Datasets that others made, read from their own files."""
