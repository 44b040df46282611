"""Weather engine: published optics of fog, rain, snow and night, without network weights."""
