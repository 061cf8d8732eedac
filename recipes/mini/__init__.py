"""The making of the checkpoint ``mini``: ``python -m recipes.mini STAGE ...``."""
