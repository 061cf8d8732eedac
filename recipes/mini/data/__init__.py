"""What the training text is made of, and what keeps evaluation text out of it."""
