"""Writers of rendered scenes: the nuScenes and RobotCar layouts, with exact truth."""
