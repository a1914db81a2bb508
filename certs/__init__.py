"""The webhook's certificate authority and leaf certificates."""
