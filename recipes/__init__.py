"""How the shipped checkpoint and the training mixes are made; run from a clone, not installed."""
