"""Feature restoration by residual-shift diffusion."""
