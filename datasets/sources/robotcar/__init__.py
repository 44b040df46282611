"""Oxford RobotCar, and an exporter of the built-in world in its format."""
