"""What users say of a page beside its content, and how they ask for it: values and filters."""
