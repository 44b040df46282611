"""Import engine: pictures that another program made of the clear frames become variants."""
