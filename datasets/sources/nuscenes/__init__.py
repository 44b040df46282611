"""nuScenes, and other data sets in its layout."""
