"""Streets: course, cross-section, paths, markings and the ground mesh."""
