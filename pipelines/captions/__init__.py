"""One sentence about what a clear frame shows; made once per frame and kept beside it."""
