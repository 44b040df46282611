"""Objects of a street: buildings, plants, furniture, vehicles and people."""
