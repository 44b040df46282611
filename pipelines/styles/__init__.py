"""Style pools: real night and rain images of a dataset, and the check that they do not leak."""
