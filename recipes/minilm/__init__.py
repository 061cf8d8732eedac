"""A checkpoint trained from all-MiniLM-L6-v2: data, stages, export."""
