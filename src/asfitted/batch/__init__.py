"""Files through the same scorer and into the same log."""
