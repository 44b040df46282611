"""Gates: checks of generated variants; rejected ones are quarantined."""
