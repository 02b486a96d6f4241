"""What a network costs, known without running it."""
