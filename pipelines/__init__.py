"""From clear frames to variants and labels."""
