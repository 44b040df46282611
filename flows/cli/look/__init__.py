"""Commands that look into a dataset."""
