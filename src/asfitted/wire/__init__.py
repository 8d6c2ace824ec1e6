"""From bytes to typed rows by the contract, one module per content type."""
