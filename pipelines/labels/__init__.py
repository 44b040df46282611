"""Labels: depth and confidence that a trained model predicts for clear frames."""
