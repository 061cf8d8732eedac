"""How long scoring, searching and indexing take, as ratios within one run."""
