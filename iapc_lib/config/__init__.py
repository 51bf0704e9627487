"""How a run is described: sections and fields, and the YAML files that set them."""
