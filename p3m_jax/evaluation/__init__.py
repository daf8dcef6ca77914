"""Evaluates networks and mattes: error measures, scoring protocols, comparisons, reports."""
