"""Depth completion network: dense depth from an image and sparse LiDAR depth."""
