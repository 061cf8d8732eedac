"""How a question finds its pages: the plan, the cascade, the words, and their fusion."""
