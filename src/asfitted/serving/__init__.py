"""Everything that knows how MLflow's server calls a model."""
