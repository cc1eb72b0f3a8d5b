"""Where and how a program runs."""
