"""From a network to scores: test-time strategies, protocols, error measures, reports."""
