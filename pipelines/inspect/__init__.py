"""Looking at a dataset: statistics, contact sheets, cards."""
