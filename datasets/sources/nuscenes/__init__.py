"""nuScenes, and anything else in its layout."""
