"""Browser of a dataset: a local web page with its samples, their pictures and statistics."""
