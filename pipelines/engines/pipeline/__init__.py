"""Pipeline engine: any pipeline class of diffusers by name, called with our fields."""
