"""What the shipped checkpoint finds at each budget and format, beside BM25; its wrong answers."""
