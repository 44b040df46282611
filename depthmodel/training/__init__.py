"""The training loop, its presets and its run folder."""
