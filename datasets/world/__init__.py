"""The built-in driving world: streets rendered with exact depth, written as nuScenes is."""
