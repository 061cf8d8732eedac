"""Training: the MMR loss, the functional initialisation, and the making of the checkpoint ``mini``.

Nothing heavy is imported here; each module imports what it needs.
"""
