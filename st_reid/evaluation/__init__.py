"""What features are worth: rankings, figures, reports."""
