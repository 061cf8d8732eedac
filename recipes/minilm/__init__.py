"""The recipe of the shipped checkpoint that starts from all-MiniLM-L6-v2."""
