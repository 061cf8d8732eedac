"""How a checkpoint is trained from all-MiniLM-L6-v2."""
