"""KITTI: raw drives and the depth benchmark."""
