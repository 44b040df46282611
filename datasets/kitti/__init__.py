"""KITTI: raw drives and the depth benchmark."""

from datasets.kitti.source import KittiSource

__all__ = ["KittiSource"]
