"""How good features are: rankings, figures, reports."""
