"""Meta Tokens against one vector and pooling, trained alike; the start without training."""
