"""The making of the network and the words for photos: ``python -m recipes.visual_words``."""
