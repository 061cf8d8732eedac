"""The making of the checkpoint ``mini``."""
