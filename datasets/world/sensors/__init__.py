"""Sensor models: camera, LiDAR, optical flow and their timing."""
