"""Commands on networks: published models, specs, exports, weights."""
