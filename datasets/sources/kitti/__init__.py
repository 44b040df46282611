"""KITTI: raw drives and the depth benchmark."""

from nightrain.datasets.sources.kitti.source import KittiSource

__all__ = ["KittiSource"]
