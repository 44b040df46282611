"""Labels: depth and confidence predicted by a trained model for clear frames."""
