"""Ordered vectors of pages: how they are stored, and how they are scored."""
