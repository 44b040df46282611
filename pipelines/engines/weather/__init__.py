"""Weather engine: published optics of fog, rain, snow and night; no weights."""
