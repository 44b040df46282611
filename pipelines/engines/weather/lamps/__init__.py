"""Lamps of a night: street lamps, and what the clear picture shows that is lit at night."""
