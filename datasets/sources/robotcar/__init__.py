"""Oxford RobotCar, and an exporter of the built-in world in its format."""

from nightrain.datasets.sources.robotcar.source import RobotCarSource

__all__ = ["RobotCarSource"]
