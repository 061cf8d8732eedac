"""How the checkpoint ``small`` is made from all-MiniLM-L6-v2."""
