"""Pages and their ordered multi-vectors in Chroma, one record a page."""
