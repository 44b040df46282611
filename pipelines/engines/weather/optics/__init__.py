"""Optical effects shared by the weather conditions."""
