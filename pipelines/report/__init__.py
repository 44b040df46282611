"""Report of a dataset: one HTML file with counts, plots and pictures, readable without network."""
