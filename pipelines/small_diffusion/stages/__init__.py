"""Training stages of the family, one file each, and the loop that they share."""
