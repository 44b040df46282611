"""Statistics by group: counts and means of a dataset by condition, severity, place and so on."""
