"""Coverage-guided fuzzing (``./dev fuzz``), and the properties that it shares with the ordinary tests."""
