"""Questions and what answers them, made from manuals, FAQs and dictionaries."""
