"""Depth decoders: DPT, PixelFormer and invertible ones."""
