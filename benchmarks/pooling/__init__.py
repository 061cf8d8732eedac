"""What pooling of a late-interaction model into a few ordered vectors keeps, and its time."""
