"""The training loader: frames, variants and labels joined into samples."""
