"""Label maps of photographs."""
