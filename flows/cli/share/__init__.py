"""Commands that hand datasets and networks to other tools and people."""
